"""Oddity scores, thresholds, and the commands on tiny worlds."""

import csv
import json

import numpy as np
import pytest
import torch
from scipy.special import digamma
from sklearn.covariance import LedoitWolf

from avssl.applications import auroc, detection
from avssl.applications.anomaly.finding import find_odd, rank, set_aside
from avssl.applications.anomaly.measuring import one_class
from avssl.applications.anomaly.offsets import REACH, local_curves
from avssl.applications.anomaly.scoring import Dirichlets, LogSoftmax, Mahalanobis, Neighbours, fit_dirichlets, scorer
from avssl.applications.anomaly.tracks import clips_in, trackers
from avssl.catalog.index import open_manifest
from avssl.catalog.manifest import Manifest
from avssl.encoders import R3D, save_encoder
from avssl.encoders.transformed import Changes, TransformationJudge
from avssl.evaluation.features import Views
from avssl.evaluation.protocol import LabelledVideos, Protocol
from avssl.evaluation.splits import GroupFolds
from avssl.pixels import MEAN, STD
from avssl.runtime.device import Machine
from avssl.sync.network import Synchroniser
from avssl.training.split import RunSplit

CARD = {"mean": MEAN, "std": STD, "size": (16, 16)}
VIEWS = Views(clips=1, num_frames=4, step=0.1, size=16, segments=1)


@pytest.fixture(autouse=True)
def _few(monkeypatch):
    """Resample little: intervals are as wide, only coarser."""
    monkeypatch.setattr(detection, "RESAMPLES", 50)


def test_neighbours_and_mahalanobis_know_what_is_far_away():
    rng = np.random.default_rng(0)
    normal = rng.normal(size=(200, 6)) @ np.diag([1, 1, 1, 1, 1, 0.05]) + 3
    near, far = normal[:50] + 0.01, normal[:50] + np.array([0, 0, 0, 0, 0, 1.0])  # along a direction of little spread
    for measure in (Neighbours(), Mahalanobis()):
        measure.fit(normal)
        assert auroc(np.append(measure.scores(near), measure.scores(far)), [0] * 50 + [1] * 50, range(100)).value > 0.9
    spread = normal.std(0)
    theirs = LedoitWolf(assume_centered=True).fit((normal - normal.mean(0)) / spread)
    distance = np.sqrt(theirs.mahalanobis((far - normal.mean(0)) / spread))
    np.testing.assert_allclose(measure.scores(far), distance, rtol=1e-6)


def test_dirichlets_of_most_likelihood_are_found():
    rng = np.random.default_rng(0)
    true = np.array([[0.5, 2.0, 9.0], [30.0, 1.0, 0.2]])
    logs = np.log([rng.dirichlet(row, 20_000) for row in true])
    found = fit_dirichlets(logs.mean(1))
    np.testing.assert_allclose(found, true, rtol=0.05)
    slope = digamma(found.sum(1, keepdims=True)) - digamma(found) + logs.mean(1)  # of the likelihood
    np.testing.assert_allclose(slope, 0, atol=1e-5)


def test_judges_scores_are_those_of_the_paper():
    logs = torch.randn(7, 4, 4, dtype=torch.float64).log_softmax(2)
    clips = logs.flatten(1).numpy()
    right = logs.diagonal(dim1=1, dim2=2).mean(1)
    np.testing.assert_allclose(LogSoftmax().scores(clips), -right.numpy())
    measure = Dirichlets()
    measure.fit(clips)
    alpha = torch.from_numpy(measure.alpha)
    densities = [torch.distributions.Dirichlet(row) for row in alpha]
    likely = sum(density.log_prob(logs[:, place].exp()) for place, density in enumerate(densities))
    constant = sum(density.log_prob(logs[:1, place].exp()) for place, density in enumerate(densities))
    np.testing.assert_allclose(
        measure.scores(clips) - measure.scores(clips[:1]), (constant - likely).numpy(), atol=1e-6
    )


def test_a_threshold_is_passed_by_as_many_normal_videos_as_said():
    rng = np.random.default_rng(0)
    passed = []
    for _ in range(2000):
        scores = rng.normal(size=39)
        passed.append(rng.normal() > np.sort(scores)[rank(39, 0.1) - 1])
    assert np.mean(passed) == pytest.approx(0.1, abs=0.02)
    assert rank(19, 0.05) == 19


def test_normal_videos_that_a_run_was_trained_on_set_no_threshold(tmp_path):
    names = "aabbccdd"
    rows = [
        {"root": "/v", "path": f"{n}.mp4", "status": "ok", "group": name, "content": str(n), "duration": 1.0}
        for n, name in enumerate(names)
    ]
    videos = Manifest.from_rows(rows)
    fitted, kept = set_aside(videos, [tmp_path], 0.5)
    assert not {names[row] for row in fitted} & {names[row] for row in kept}
    assert sorted(fitted + kept) == list(range(8))
    RunSplit.of(videos.select(range(5)), np.array([0, 0, 1, 1, 0], bool)).write(tmp_path)
    assert set_aside(videos, [tmp_path], 0.5) == ([0, 1, 4, 5], [2, 3, 6, 7])
    with pytest.raises(ValueError, match="of one group"):
        set_aside(videos.select(range(2)), [tmp_path / "none"], 0.5)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of `Transformations` with an untrained judge."""
    folder = tmp_path_factory.mktemp("runs") / "judge"
    torch.manual_seed(0)
    judge = TransformationJudge(R3D(width=8), Changes(turns=False))
    save_encoder(judge.encoder, folder / "encoder", CARD)
    save_encoder(judge, folder / "judge", CARD)
    return folder


def test_each_class_in_turn_is_odd(world, run, tmp_path):
    views = Views(clips=2, num_frames=4, step=0.1, size=16, segments=1)
    protocol = Protocol("tiny", LabelledVideos(world), GroupFolds(folds=2), views, seeds=(0,))
    machine = Machine(workers=0, cache=tmp_path / "cache")
    found = one_class(protocol, [str(run)], tmp_path, machine)
    names = [
        "judge dirichlet",
        "judge log_softmax",
        "judge neighbours",
        "judge mahalanobis",
        "untrained judge neighbours",
    ]
    assert list(found.mean)[:5] == names
    assert len(found.per_class["judge dirichlet"]) == 8
    kept = json.loads((tmp_path / "anomaly.json").read_text())
    for name, score in kept["mean"].items():
        each = [one["value"] for one in kept["per_class"][name].values()]
        assert score["value"] == pytest.approx(np.mean(each))
    # the score of a judge does not depend on what is normal: classes and their complements are mirrored
    other = one_class(protocol, [str(run)], tmp_path / "one", machine, "one")
    for label, score in found.per_class["judge log_softmax"].items():
        assert other.per_class["judge log_softmax"][label].value == pytest.approx(1 - score.value)


def test_shuffled_classes_are_not_odd(world, run, tmp_path):
    """What tells one class from the rest tells nothing of classes that were dealt out at random."""
    rows = open_manifest(world).to_rows()
    labels = [row["labels"] for row in rows]
    for row, place in zip(rows, np.random.default_rng(0).permutation(len(rows)), strict=True):
        row["labels"] = labels[place]
    Manifest.from_rows(rows).write(tmp_path / "shuffled.parquet")
    views = Views(clips=2, num_frames=4, step=0.1, size=16, segments=1)
    protocol = Protocol("tiny", LabelledVideos(tmp_path / "shuffled.parquet"), GroupFolds(folds=2), views, seeds=(0,))
    found = one_class(protocol, [str(run)], tmp_path, Machine(workers=0, cache=tmp_path / "cache"))
    for name, score in found.mean.items():
        low, high = score.ci95_bootstrap
        assert low < 0.5 < high, name


def test_moments_are_scored_and_judged(world, run, tmp_path):
    whole = open_manifest(world)
    for name, rows in (("normal", range(16)), ("asked", range(16, 24))):
        whole.select(list(rows)).write(tmp_path / f"{name}.parquet")
    asked = open_manifest(tmp_path / "asked.parquet").keys.to_pylist()
    known = tmp_path / "known.csv"
    known.write_text(f"path,label,start,stop\n{asked[1]},late,0.5,1.5\n{asked[4]},late,1,2\n")
    paths = tmp_path / "normal.parquet", tmp_path / "asked.parquet", [run], tmp_path / "out"
    options = {
        "views": VIEWS,
        "false_alarms": 0.25,
        "machine": Machine(workers=0, cache=tmp_path / "cache"),
        "sheet": 2,
    }
    found = find_odd(*paths, odd=known, **options)
    assert found.detectors == ["judge dirichlet"]
    assert list(found.judged) == ["judge dirichlet", "motion energy neighbours"]
    assert set(found.judged["judge dirichlet"]) == {"all", "moments"}
    rows = list(csv.DictReader((tmp_path / "out/odd.csv").open()))
    assert sorted(row["path"] for row in rows) == sorted(asked)
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert [row["odd"] == "1" for row in rows] == [score > found.threshold for score in scores]
    assert all((tmp_path / "out" / name).stat().st_size > 3000 for name in ("curves.png", "sheet.png"))
    with pytest.raises(ValueError, match="are left to set a threshold on"):
        find_odd(*paths, views=VIEWS, false_alarms=0.01)
    with pytest.raises(ValueError, match="can't be normal too"):
        find_odd(paths[0], paths[0], paths[2], paths[3], views=VIEWS)
    known.write_text("path,label\nnobody.mp4,late\n")
    with pytest.raises(ValueError, match="nobody"):
        find_odd(*paths, odd=known, **options)


def test_a_run_can_be_scored_only_by_what_it_has(run):
    with pytest.raises(ValueError, match="can't be scored by offset; it can by dirichlet"):
        trackers(run, ["offset"], VIEWS, 0.2, Machine())
    assert clips_in(4.0, 1.0, 0.5) == 7
    assert clips_in(0.5, 1.0, 0.5) == 1


def test_one_normal_clip_has_no_covariance():
    with pytest.raises(ValueError, match="two normal clips, here is 1"):
        scorer("mahalanobis").fit(np.zeros((1, 4), np.float32))


class Loudness(Synchroniser):
    """Takes a loud sound for one that is far from the picture."""

    def distances(self, clips, sounds, which):
        assert clips.shape[1:] == (5, 3, 16, 16)
        return sounds.square().mean(1)[which]


def test_the_distance_at_an_offset_is_that_of_the_sound_so_much_later(world):
    network = Loudness(1, {}, 5, 0.04, 16000)
    network.card = CARD
    video = open_manifest(world)[0]
    seconds, curves = local_curves(video, network)
    assert seconds[0] - 0.1 >= REACH - 1e-6
    assert seconds[-1] + 0.1 <= video.duration - REACH + 1e-6
    middle, steps = curves.shape[1] // 2, 3
    np.testing.assert_allclose(np.diff(seconds), 0.04, atol=1e-6)
    later, now = curves[:-steps, middle + steps], curves[steps:, middle]  # 0.2 s from an end, sounds are repeated
    np.testing.assert_allclose(later[5:-5], now[5:-5], rtol=1e-3)
    assert curves.std() > 0.1 * curves.mean()
