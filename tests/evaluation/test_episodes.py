"""Few-shot episodes: what is drawn, heads against other implementations, accuracies with intervals."""

import json
import time
from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
from sklearn.linear_model import LogisticRegression

from avssl.encoders import R3D, load_encoder, save_encoder
from avssl.evaluation.episodes import Episodes, classify, draw_episodes
from avssl.evaluation.features import Views
from avssl.evaluation.protocol import DownstreamTask, LabelledVideos, Protocol
from avssl.evaluation.readout import Bank, TooFewLabels
from avssl.evaluation.report import comparison
from avssl.evaluation.results import Results, from_json, to_json
from avssl.evaluation.run import evaluate, run_read_outs
from avssl.evaluation.splits import Fold, Folds, GroupFolds
from avssl.runtime.device import Machine

CPU = torch.device("cpu")


def world(classes=8, groups=12, each=2, separation=1.0, width=16, seed=0):
    """Every group (person) has ``each`` videos of every class, and features of its own."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), groups * each)
    people = np.tile(np.repeat(np.arange(groups), each), classes)
    centres = separation * rng.normal(size=(classes, width)) + 0.0
    features = centres[labels] + rng.normal(size=(groups, width))[people] + rng.normal(size=(len(labels), width))
    bank = Bank(features[:, None].astype(np.float32), labels, people, classes)
    half = np.arange(len(labels))
    folds = [
        Fold(name, tuple(half[people % 2 == side]), tuple(half[people % 2 != side])) for side, name in enumerate("ab")
    ]
    return bank, Folds(tuple(folds), tuple(map(str, people)))


def test_support_and_queries_share_no_group_and_classes_are_whole():
    bank, _ = world()
    support, query = draw_episodes(bank.labels, bank.groups, 5, 3, 6, 40, seed=1)
    assert support.shape == (40, 5, 3)
    assert query.shape == (40, 5, 6)
    for known, asked in zip(support, query, strict=True):
        assert not set(bank.groups[known].flat) & set(bank.groups[asked].flat)
        assert len({*known.flat, *asked.flat}) == known.size + asked.size
        for row in (*known, *asked):
            assert len(set(bank.labels[row])) == 1
        assert (bank.labels[known[:, 0]] == bank.labels[asked[:, 0]]).all()
        assert len(set(bank.labels[known[:, 0]])) == 5
        assert all(len(set(bank.groups[row])) == 3 for row in known)  # a shot per person
    again = draw_episodes(bank.labels, bank.groups, 5, 3, 6, 40, seed=1)
    assert (again[0] == support).all()
    assert (again[1] == query).all()
    assert (draw_episodes(bank.labels, bank.groups, 5, 3, 6, 40, seed=2)[0] != support).any()


def test_what_cannot_be_drawn_is_refused():
    bank, _ = world(classes=4, groups=3)
    with pytest.raises(TooFewLabels, match=r"0 of 4 classes have 4 groups and 4 videos, too few for 2-way 3-shot"):
        draw_episodes(bank.labels, bank.groups, 2, 3, 1, 5, 0)
    chained = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])  # either person leaves one query of each class
    with pytest.raises(TooFewLabels, match="2 classes have 2 groups and 3 videos"):
        draw_episodes(*chained, 2, 1, 2, 5, 0)
    labels, groups = np.array([0, 0, 0, 1, 1, 1]), np.array([0, 1, 1, 1, 0, 0])
    with pytest.raises(TooFewLabels, match="can't be parted into 1 for support and others with 2 queries"):
        draw_episodes(labels, groups, 2, 1, 2, 5, 0)


def test_heads_agree_with_scikit_learn_and_with_their_definitions():
    torch.manual_seed(0)
    support = torch.nn.functional.normalize(torch.randn(6, 4, 3, 40) + torch.randn(6, 4, 1, 40), dim=3)
    query = torch.nn.functional.normalize(torch.randn(6, 30, 40), dim=2)
    labels = np.repeat(np.arange(4), 3)
    for strength in (1.0, 30.0):
        found = classify(support, query, "linear", strength)
        for known, asked, ours in zip(support, query, found, strict=True):
            theirs = LogisticRegression(C=strength, fit_intercept=False, tol=1e-8, max_iter=5000)
            theirs.fit(known.flatten(0, 1), labels)
            assert (theirs.predict(asked) == ours.numpy()).all()
    means = support.mean(2)
    nearest = (query[:, :, None] - means[:, None]).square().sum(3).argmin(2)
    assert (classify(support, query, "prototypes") == nearest).all()
    closest = (query[:, :, None] * support.flatten(1, 2)[:, None]).sum(3).argmax(2) // 3
    assert (classify(support, query, "neighbour") == closest).all()
    one = classify(support[:, :, :1], query, "cosine")  # with one shot each, the class means are already apart
    assert (one == classify(support[:, :, :1], query, "neighbour")).float().mean() > 0.9


def test_the_cosine_head_descends_as_autograd_does():
    torch.manual_seed(0)
    support = torch.nn.functional.normalize(torch.randn(2, 3, 4, 10), dim=3)
    query = torch.nn.functional.normalize(torch.randn(2, 50, 10), dim=2)
    expected = []
    for known, asked in zip(support, query, strict=True):
        weights = torch.nn.functional.normalize(known.mean(1), dim=1).requires_grad_()
        for _ in range(100):
            scores = 10 * known.flatten(0, 1) @ torch.nn.functional.normalize(weights, dim=1).T
            loss = torch.nn.functional.cross_entropy(scores, torch.arange(3).repeat_interleave(4))
            (slope,) = torch.autograd.grad(loss, weights)
            weights = (weights - 0.1 * (slope + 1e-3 * weights)).detach().requires_grad_()
        expected.append((asked @ torch.nn.functional.normalize(weights, dim=1).T).argmax(1))
    assert (classify(support, query, "cosine") == torch.stack(expected)).all()


def test_accuracy_chance_and_intervals():
    bank, folds = world(separation=1.2)
    noise, _ = world(separation=0.0)
    plan = Episodes(queries=4, episodes=90)
    found = plan.measure([bank, bank], folds, CPU)
    assert plan.chance() == {"5-way": 0.2}
    for head in plan.heads:
        one, five = found[f"{head} 1-shot 5-way"], found[f"{head} 5-shot 5-way"]
        assert 0.5 < one.value < five.value
        assert one.per_seed == [one.value] * 2
        assert one.classes == 8
        low, high = one.ci95_episodes
        assert low < one.value < high
        assert one.ci95_bootstrap[1] - one.ci95_bootstrap[0] > high - low  # twelve people, not 600 independent tasks
        assert from_json(to_json({head: one})) == {head: one}
    for name, score in replace(plan, shots=(5,), heads=("linear", "prototypes")).measure([noise], folds, CPU).items():
        assert score.value == pytest.approx(0.2, abs=0.04), name
    again = replace(plan, heads=("cosine",), shots=(5,)).measure([bank, bank], folds, CPU)
    assert again == {"cosine 5-shot 5-way": found["cosine 5-shot 5-way"]}


def test_600_episodes_take_seconds():
    bank, folds = world(classes=12, groups=40, each=1, width=64)
    begun = time.process_time()
    found = Episodes(queries=10, shots=(5,)).measure([bank], folds, CPU)
    assert time.process_time() - begun < 20
    assert [score.episodes for score in found.values()] == [600] * 4


def test_one_fold_is_tested_on_its_test_videos_alone():
    bank, folds = world(classes=6)
    (fold, _) = folds.folds
    broken = bank.features.copy()
    broken[list(fold.test)] = 0  # nothing to tell classes by
    alone = Folds((fold,), folds.groups)
    plan = Episodes(queries=4, shots=(1,), heads=("prototypes",), episodes=100)
    one = plan.measure([Bank(broken, bank.labels, bank.groups, 6)], alone, CPU)
    assert one["prototypes 1-shot 5-way"].value == pytest.approx(0.2)  # ties go to the first class
    assert plan.measure([bank], alone, CPU)["prototypes 1-shot 5-way"].value > 0.4


def test_a_protocol_with_episodes_alone_is_evaluated(collection, tmp_path):
    collection.write(tmp_path / "videos.parquet")
    torch.manual_seed(0)
    save_encoder(R3D(width=8), tmp_path / "run" / "encoder", {"mean": tiny.MEAN, "std": tiny.STD, "size": [32, 32]})
    views = Views(clips=1, num_frames=4, step=0.1, size=32, segments=2)
    few = Episodes(ways=(2,), shots=(1, 2), queries=2, episodes=20, heads=("linear", "cosine"))
    alone = {"linear": None, "neighbours": None, "retrieval": (), "seeds": (0, 1)}
    data = LabelledVideos(tmp_path / "videos.parquet", classes=2)
    protocol = Protocol("tiny", data, GroupFolds(2), views, **alone, episodes=few)
    machine = Machine(device="cpu", workers=0, cache=tmp_path / "cache")
    results = evaluate(protocol, tmp_path / "run", machine)
    read = Results.read(tmp_path / "run" / "eval" / "tiny" / "results.json")
    assert to_json(read.outcomes) == json.loads(json.dumps(to_json(results.outcomes)))
    assert results.settings["episodes"]["shots"] == [1, 2]
    assert results.chance["2-way"] == 0.5
    ours, fresh = (results.outcomes[who]["episodes"] for who in ("pretrained", "random_init"))
    assert list(ours) == list(fresh)
    assert len(fresh["cosine 2-shot 2-way"].per_seed) == 2
    headings, rows = comparison([results])
    assert headings[3] == "linear 1-shot 2-way"
    assert rows[-1][3] == "0.500"
    most = DownstreamTask(replace(protocol, episodes=replace(few, shots=(4,))))
    outcome = run_read_outs(most, [load_encoder(tmp_path / "run")], machine, frozen_only=True)["episodes"]
    assert "0 of 2 classes have 5 groups" in outcome.skipped
