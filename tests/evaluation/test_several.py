"""Videos that show several classes or none, and segments of files: folds, read-outs, mean average precision."""

from dataclasses import replace
from itertools import permutations
from pathlib import Path

import av
import numpy as np
import pytest
import tiny
import torch
from rich.console import Console
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score

from avssl.catalog.manifest import Manifest
from avssl.catalog.summary import summarise
from avssl.catalog.table import row_from_info
from avssl.cli.evaluate import run as command
from avssl.encoders import ResNet, load_encoder, save_encoder
from avssl.evaluation.classes import divide
from avssl.evaluation.config import parse, parser
from avssl.evaluation.embedding import embed
from avssl.evaluation.finetune import Budget, Supervised
from avssl.evaluation.precision import chance_precision, mean_average_precision, precision_gain
from avssl.evaluation.probes import LinearProbe, NearestNeighbours
from avssl.evaluation.protocol import DownstreamTask
from avssl.evaluation.readout import Bank, cross_validate_several, predictions
from avssl.evaluation.report import advantage, collect, comparison, print_results
from avssl.evaluation.results import Results, Skipped
from avssl.evaluation.splits import Fold, Folds, GroupFolds, check_folds
from avssl.evaluation.trial import video_bank
from avssl.media import probe
from avssl.runtime.device import Machine

COLOURS = ("blue", "green", "red")
CARD = {"mean": tiny.MEAN, "std": tiny.STD, "size": [32, 32], "method": "Tiny"}


class TrainHalf:
    """Train on the films from the second to the twelfth, test on the others; the first is left out."""

    def __call__(self, videos):
        return Folds((Fold("half", tuple(range(1, 12)), tuple(range(12, 24))),), tuple(map(str, range(24))))


def read_config(words):
    return parse(parser(None), [str(Path(__file__).parents[2] / "configs" / "eval" / "folder.yaml"), *words])


def write_film(path, names, seed):
    """Six pictures of noise on which a bar of each named colour stands, at a place of its own."""
    rng = np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for _ in range(6):
            picture = rng.integers(0, 120, (32, 32, 3), dtype=np.uint8)
            for name in names:
                number = COLOURS.index(name)
                picture[:, 10 * number + 2 : 10 * number + 9] = 255 * np.eye(3)[2 - number]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Twenty-four films of twelve groups, each with none to three of the colours."""
    root = tmp_path_factory.mktemp("films")
    rng, rows = np.random.default_rng(3), []
    for number in range(24):
        names = [name for name in COLOURS if rng.random() < 0.45]
        write_film(root / f"{number}.avi", names, number)
        row = row_from_info(probe(root / f"{number}.avi"))
        where = {"root": str(root), "path": f"{number}.avi", "content": str(number)}
        rows.append({**row, **where, "labels": names, "group": f"g{number // 2}"})
    Manifest.from_rows(rows).write(root / "videos.parquet")
    return root / "videos.parquet"


@pytest.fixture(scope="module")
def evaluated(films, tmp_path_factory):
    """What ``avssl evaluate folder`` was told, with the run's folder."""
    folder = tmp_path_factory.mktemp("evaluated")
    torch.manual_seed(0)
    save_encoder(ResNet(width=8), folder / "run" / "encoder", CARD)
    views = ["--views.clips=1", "--views.num_frames=4", "--views.size=32", "--views.segments=2", "--seeds=[0,1]"]
    tune = ["--fine_tune.steps=2", "--fine_tune.batch_size=4", "--attentive.steps=2", "--attentive.folds=1"]
    choose = ["--linear.strengths=[0.01,1]", "--linear.inner_folds=2", "--neighbours.ks=[1,3]"]
    choose += ["--split.init_args.folds=3", "--layout=null", "--layout_mean=null"]
    machine = ["--machine.device=cpu", "--machine.workers=0", f"--machine.cache={folder / 'cache'}"]
    words = ["folder", f"--data.root={films}", f"--run={folder / 'run'}", *views, *tune, *choose, *machine]
    command(words)
    return words, folder / "run"


def test_the_command_gives_scikit_learns_average_precision_of_each_class(evaluated, tmp_path):
    words, run = evaluated
    results = Results.read(run / "eval" / "folder" / "results.json")
    protocol, args = read_config(words[1:])
    task = DownstreamTask(protocol)
    bank = video_bank(task, load_encoder(run), args.machine)
    bank = bank.over_time(load_encoder(run).num_features)
    assert bank.labels.dtype == np.int8
    assert bank.labels.shape == (24, 3)
    for name, read_out in (("linear", protocol.linear), ("neighbours", protocol.neighbours)):
        (folds,) = predictions([read_out], [bank], task.folds)
        rows = np.concatenate([one.videos for one in folds])
        assert sorted(rows) == list(range(24))
        scores = np.concatenate([one.scores.mean(1) for one in folds])
        expected = [average_precision_score(bank.labels[rows, k] > 0, scores[:, k]) for k in range(3)]
        found = results.outcomes["pretrained"][name]
        assert list(found.per_class.values()) == pytest.approx(expected)
        assert found.value == pytest.approx(np.mean(expected))
        assert found.ci95_bootstrap[0] < found.value <= found.ci95_bootstrap[1]
        assert [chosen in (0.01, 1, 3) for chosen in found.chosen[0]] == [True] * 3
    assert results.outcomes["pretrained"]["linear"].value > 0.9  # a random network tells colours apart
    assert results.chance == {"mAP": chance_precision(bank.labels)}
    assert set(results.outcomes["pretrained"]["linear"].per_class) == set(COLOURS)
    assert len(results.outcomes["random_init"]["linear"].per_seed) == 2


def test_every_read_out_is_there_or_says_why_not(evaluated, tmp_path):
    words, run = evaluated
    (results,) = collect([run])
    ours = results.outcomes["pretrained"]
    for name in ("retrieval", "retrieval_ordered", "low_shot"):
        assert isinstance(ours[name], Skipped)
        assert "several classes or none" in ours[name].skipped
    assert {"linear_ordered", "neighbours_ordered", "fine_tune", "attentive"} <= ours.keys()
    assert results.outcomes["from_scratch"]["fine_tune"].per_class.keys() == set(COLOURS)
    console = Console(record=True, width=140)
    print_results(results, console)
    printed = console.export_text()
    assert "linear mAP" in printed
    assert f"{results.chance['mAP']:.3f}" in printed
    assert "low_shot is left out: videos show several classes" in printed
    headings, rows = comparison([results])
    assert "fine_tune mAP" in headings
    assert rows[-1][3] == f"{results.chance['mAP']:.3f}"
    headings, rows = advantage([results])
    gained = float(rows[0][headings.index("linear mAP")].split()[0])
    assert gained == pytest.approx(ours["linear"].value - results.outcomes["random_init"]["linear"].value, abs=6e-4)
    protocol, args = read_config(words[1:])
    for file in embed(protocol, run, tmp_path, args.machine, "pca", queries=1):
        assert file.stat().st_size > 1000


def test_one_class_each_stays_accuracy_also_beside_films_that_nobody_annotated(films):
    rows = [{**row, "labels": [COLOURS[place % 3]]} for place, row in enumerate(Manifest.open(films).to_rows())]
    rows[0]["labels"] = None
    videos = Manifest.from_rows(rows)
    with pytest.raises(ValueError, match=r"0\.avi has no label \(1 such videos\)\. Index the collection"):
        GroupFolds(3)(videos)
    with pytest.raises(ValueError, match=r"split f: .*0\.avi has no label"):
        check_folds(Folds((Fold("f", (0, 1, 2), (3, 4)),), tuple(map(str, range(24)))), videos)
    videos.write(films.with_name("one.parquet"))
    protocol = read_config([f"--data.root={films.with_name('one.parquet')}", "--run=r"])[0]
    task = DownstreamTask(replace(protocol, split=TrainHalf()))
    assert not task.several
    assert task.labels.shape == (24,)
    assert task.labels[0] == -1
    assert {"top1", "R@1"} <= task.chance().keys()


def test_fine_tuning_learns_several_classes(films):
    words = [f"--data.root={films}", "--run=r", "--views.clips=1", "--views.num_frames=4", "--views.size=32"]
    task = DownstreamTask(read_config(words)[0])

    def start(seed):
        torch.manual_seed(seed)
        encoder = ResNet(width=8)
        encoder.card = CARD
        return encoder

    pixels = task.pixels(Machine(device="cpu", workers=0))
    read_out = Supervised(start, Budget(steps=40, batch_size=8, lr=1e-2))
    scores = read_out.scores(pixels, task.folds.folds[0]).values.mean(1)
    assert scores.sum(1).max() > 1.2  # each class on its own
    shown = task.labels[list(task.folds.folds[0].test)] > 0
    assert average_precision_score(shown.ravel(), scores.ravel()) > 0.9


def labelled_noise(videos=240, classes=6, seed=0):
    """A bank whose features tell some of the classes, in groups of four videos."""
    rng = np.random.default_rng(seed)
    shown = rng.random((videos, classes)) < np.linspace(0.04, 0.5, classes)
    features = rng.normal(size=(videos, 2, 8)) + shown[:, None] @ rng.normal(size=(classes, 8))
    labels = np.where(shown, 1, -1).astype(np.int8)
    return Bank(features.astype(np.float32), labels, np.arange(videos) // 4, classes)


def test_groups_are_divided_whole_and_evenly_in_every_class():
    bank = labelled_noise()
    parts = divide(bank.labels, bank.groups, 4, seed=0)
    assert all(len(np.unique(parts[bank.groups == group])) == 1 for group in np.unique(bank.groups))
    assert np.bincount(parts).tolist() == pytest.approx([60] * 4, abs=4)
    shares = np.stack([(bank.labels[parts == part] > 0).sum(0) for part in range(4)]) / (bank.labels > 0).sum(0)
    assert np.abs(shares - 1 / 4).max() < 0.1
    rare = np.full((240, 1), -1, np.int8)
    rare[[0, 100]] = 1
    assert len(set(divide(np.concatenate([bank.labels, rare], 1), bank.groups, 2, seed=0)[[0, 100]])) == 2


def test_the_probe_is_one_logistic_regression_per_class_and_neighbours_vote_for_each():
    bank = labelled_noise()
    train, test = list(range(120)), list(range(120, 240))
    found = LinearProbe().fit_predict(bank, train, test, 0.1)
    x = bank.features[:120]
    x = ((bank.features - x.mean((0, 1))) / x.std((0, 1))).reshape(240, 2, 8)
    for k in range(6):
        model = LogisticRegression(C=0.1, max_iter=500)
        model.fit(x[:120].reshape(-1, 8), np.repeat(bank.labels[:120, k] > 0, 2))
        expected = model.predict_proba(x[120:].reshape(-1, 8))[:, 1].reshape(120, 2)
        np.testing.assert_allclose(found[..., k], expected, atol=1e-4)
    always, never = bank.labels.copy(), bank.labels.copy()
    always[:, 0], never[:, 0] = 1, -1
    for labels, constant in ((always, 1), (never, 0)):
        scores = LinearProbe().fit_predict(Bank(bank.features, labels, bank.groups, 6), train, test, 0.1)
        assert (scores[..., 0] == constant).all()
    features = np.array([[[1.0, 0.0]], [[0.0, 1.0]], [[0.6, 0.8]]], dtype=np.float32)
    labels = np.array([[1, 1], [-1, 1], [-1, -1]], np.int8)
    votes = NearestNeighbours(temperature=0.5).fit_predict(Bank(features, labels, np.arange(3), 2), [0, 1], [2], k=2)
    weights = np.exp(np.array([0.6, 0.8]) / 0.5)
    np.testing.assert_allclose(votes[0, 0], [weights[0] / weights.sum(), 1], rtol=1e-5)


def test_values_are_chosen_by_precision_and_without_the_test_labels():
    bank = labelled_noise()
    fold = Fold("f", tuple(range(120)), tuple(range(120, 240)))
    wrong = Bank(bank.features, bank.labels.copy(), bank.groups, 6)
    wrong.labels[120:] *= -1
    for probe_, worse in ((LinearProbe(strengths=(1e-6, 1.0)), 1e-6), (NearestNeighbours(ks=(1, 20)), 1)):
        first, second = probe_.scores(bank, fold), probe_.scores(wrong, fold)
        assert first.chosen == second.chosen
        assert first.chosen != worse
        np.testing.assert_array_equal(first.values, second.values)
    folds = Folds((fold,), tuple(map(str, bank.groups)))
    classes = [f"class {k}" for k in range(6)]
    found = cross_validate_several([LinearProbe(strengths=(0.01,))], [bank], folds, classes)
    assert found.value > 1.5 * chance_precision(bank.labels[120:])


def test_noise_stays_at_chance_over_folds_that_are_ranked_together():
    bank = labelled_noise(videos=160, classes=8)
    noise = Bank(np.random.default_rng(1).normal(size=(160, 1, 4)), bank.labels, bank.groups, 8)
    groups = tuple(map(str, bank.groups))
    parts = divide(bank.labels, bank.groups, 20, seed=0)
    sides = ((np.flatnonzero(parts != part), np.flatnonzero(parts == part)) for part in range(20))
    folds = Folds(tuple(Fold("f", tuple(train.tolist()), tuple(test.tolist())) for train, test in sides), groups)
    for read_out in (LinearProbe(strengths=(0.1,)), NearestNeighbours(ks=(20,))):
        found = cross_validate_several([read_out], [noise], folds, list("abcdefgh"))
        assert found.value == pytest.approx(chance_precision(bank.labels), abs=0.04)


def test_intervals_draw_whole_groups_and_seeds_and_classes_that_are_not_shown_are_left_out():
    rng = np.random.default_rng(0)
    present = np.where(rng.random((400, 3)) < [0.3, 0.3, 0.0], 1, -1).astype(np.int8)
    scores = (present + rng.normal(0, 2, present.shape)).astype(np.float32)
    alone = mean_average_precision(present, [scores], list("abc"), range(400))["mAP"]
    expected = [average_precision_score(present[:, k] > 0, scores[:, k]) for k in range(2)]
    assert alone.per_class == pytest.approx(dict(zip("ab", expected, strict=True)))
    copies = [np.repeat(values[:40], 10, axis=0) for values in (present, scores)]
    together = mean_average_precision(copies[0], [copies[1]], list("abc"), np.arange(400) // 10)["mAP"]
    single = mean_average_precision(present[:40], [scores[:40]], list("abc"), range(40))["mAP"]
    assert together.value == pytest.approx(single.value)
    assert np.ptp(together.ci95_bootstrap) == pytest.approx(np.ptp(single.ci95_bootstrap), rel=0.1)
    assert np.ptp(together.ci95_bootstrap) > 2 * np.ptp(alone.ci95_bootstrap)
    perfect = present.astype(np.float32)
    seeds = mean_average_precision(present, [scores, perfect], list("abc"), range(400))["mAP"]
    assert seeds.per_seed == pytest.approx([alone.value, 1])
    assert np.ptp(seeds.ci95_bootstrap) > 0.9 * (1 - alone.value)
    with pytest.raises(ValueError, match=r"none of the 400 tested videos shows any of the classes \['c'\]"):
        mean_average_precision(present[:, 2:], [scores[:, 2:]], ["c"], range(400))


def test_chance_is_the_mean_over_all_rankings():
    present = np.array([[1, 1, -1, 0], [1, -1, -1, 1], [-1, -1, -1, -1], [-1, -1, -1, 1]], np.int8)
    orders = list(permutations(range(4)))
    every = [np.mean([average_precision_score(marks > 0, order) for order in orders]) for marks in present.T[:2]]
    every.append(np.mean([average_precision_score(present[1:, 3] > 0, order) for order in permutations(range(3))]))
    assert chance_precision(present) == pytest.approx(np.mean(every))
    many = np.where(np.arange(20_000)[:, None] % 4, -1, 1)
    assert chance_precision(many) == pytest.approx(1 / 4, abs=1e-3)


def test_the_gain_in_precision_is_paired():
    rng = np.random.default_rng(0)
    present = np.where(rng.random((300, 2)) < 0.3, 1, -1).astype(np.int8)
    base = (present + rng.normal(0, 2, present.shape)).astype(np.float32)
    better = base + 0.3 * present
    sides = [mean_average_precision(present, [scores], ["a", "b"], range(300))["mAP"] for scores in (better, base)]
    found = precision_gain(sides[:1], sides[1])
    assert found.value == pytest.approx(sides[0].value - sides[1].value)
    assert found.ci95_bootstrap[0] > 0
    assert sides[0].ci95_bootstrap[0] < sides[1].ci95_bootstrap[1]  # beside each other the intervals overlap
    assert precision_gain(sides[1:], sides[1]).ci95_bootstrap == pytest.approx((0, 0), abs=1e-4)


def segments(spans, **columns):
    """Segments that need not exist: ``(path, start, duration, content, group)``."""
    names = ("path", "start", "duration", "content", "group")
    rows = [dict(zip(names, span, strict=True)) for span in spans]
    common = {"root": "/films", "status": "ok", "labels": ["a"], "fps": 25.0, "vfr": False, "width": 8, "height": 8}
    asked = ({"asked": [row["start"], row["start"] + row["duration"]]} for row in rows)
    return Manifest.from_rows({**common, **row, **span, **columns} for row, span in zip(rows, asked, strict=True))


def test_segments_of_one_file_are_never_on_both_sides():
    folds = Folds((Fold("f", (0,), (1,)),), ("g", "h"))
    videos = segments([("x.mp4", 0.0, 2.0, "x", "g"), ("x.mp4", 2.0, 1.5, "x", "h")])
    with pytest.raises(ValueError, match=r"x\.mp4 \(0 to 2 s\) in training and .*x\.mp4 \(2 to 3.5 s\) in test are of"):
        check_folds(folds, videos)
    official = check_folds(Folds(folds.folds, folds.groups, official=True), videos)
    assert official.duplicates == (("/films/x.mp4 (0 to 2 s)", "/films/x.mp4 (2 to 3.5 s)"),)
    copy = segments([("x.mp4", 0.0, 2.0, "x", "g"), ("copy.mp4", 2.0, 2.0, "x", "h")])
    with pytest.raises(ValueError, match="have the same content"):
        check_folds(folds, copy)
    for mark in ("edge:x", "etag:x"):  # no proof that they are equal
        check_folds(folds, segments([("x.mp4", 0.0, 2.0, mark, "g"), ("copy.mp4", 0.0, 2.0, mark, "h")]))
    members = segments([("x.tar", 0.0, 2.0, "x", "g"), ("x.tar", 0.0, 2.0, "y", "h")]).to_rows()
    same = [{**row, "member": name} for row, name in zip(members, ("1.mp4", "2.mp4"), strict=True)]
    check_folds(folds, Manifest.from_rows(same))
    with pytest.raises(ValueError, match=r"x\.tar/1\.mp4 .* is on both sides"):
        check_folds(folds, Manifest.from_rows([{**row, "member": "1.mp4"} for row in same]))


def test_the_summary_counts_classes_and_only_proven_duplicates():
    spans = [("x.mp4", 0.0, 2.0, "x", "g"), ("x.mp4", 2.0, 2.0, "x", "g"), ("y.mp4", 0.0, 2.0, "edge:1", "g")]
    spans.append(("z.mp4", 0.0, 2.0, "edge:1", "g"))
    rows = segments(spans).to_rows()
    for row, names in zip(rows, (["a", "b"], ["b"], [], None), strict=True):
        row["labels"] = names
    text = summarise(Manifest.from_rows(rows))
    assert "classes: 2, 2 videos without; b (2), a (1); 1 videos show several, 0.75 a video on average" in text
    assert "identical" not in text
    twice = Manifest.from_rows([*rows, {**rows[0], "path": "copy.mp4"}])
    assert "identical files: 2 files hold 1 recordings, 0 of these" in summarise(twice)
