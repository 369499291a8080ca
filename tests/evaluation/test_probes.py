"""Read-outs on features whose answer is known."""

import numpy as np
import pytest

from avssl.evaluation.probes import (
    FewLabels,
    LinearProbe,
    NearestNeighbours,
    draw_labels,
    nearest_videos,
    retrieval_hits,
)
from avssl.evaluation.readout import Bank, Scores, TooFewLabels, cross_validate, predictions
from avssl.evaluation.splits import Fold, Folds


def bank(separation=4.0, videos=24, classes=3, views=2, width=8, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(videos) % classes
    centres = separation * rng.normal(size=(classes, width))
    features = centres[labels][:, None] + rng.normal(size=(videos, views, width))
    return Bank(features.astype(np.float32), labels, np.arange(videos) // classes, classes)


FOLD = Fold("f", tuple(range(12)), tuple(range(12, 24)))


@pytest.mark.parametrize("probe", [LinearProbe(), NearestNeighbours(ks=(1, 3))])
def test_separable_classes_are_read_and_noise_is_not(probe):
    values = bank()
    scores = probe.scores(values, FOLD).values
    assert scores.shape == (12, 2, 3)
    np.testing.assert_allclose(scores.sum(2), 1, atol=1e-5)
    assert (scores.mean(1).argmax(1) == values.labels[12:]).all()
    noise = bank(separation=0, videos=300)
    fold = Fold("f", tuple(range(150)), tuple(range(150, 300)))
    accuracy = (probe.scores(noise, fold).values.mean(1).argmax(1) == noise.labels[150:]).mean()
    assert 0.2 < accuracy < 0.47


def test_nothing_is_chosen_on_test_labels():
    values = bank(separation=0.7)
    wrong = Bank(values.features, values.labels.copy(), values.groups, 3)
    wrong.labels[12:] = 0
    for probe in (LinearProbe(), NearestNeighbours()):
        first, second = probe.scores(values, FOLD), probe.scores(wrong, FOLD)
        assert first.chosen == second.chosen
        np.testing.assert_array_equal(first.values, second.values)


def test_choosing_needs_two_groups_in_training():
    values = bank()
    alone = Bank(values.features, values.labels, np.zeros_like(values.groups), 3)
    with pytest.raises(ValueError, match="all 12 training videos are in one group"):
        LinearProbe().scores(alone, FOLD)
    LinearProbe(strengths=(1.0,)).scores(alone, FOLD)


def test_classes_that_differ_in_the_order_of_clips_are_told_apart_in_sequence_only():
    rng = np.random.default_rng(0)
    labels = np.arange(64) % 2
    early, late = 4 * rng.normal(size=(2, 8))
    clips = np.where((labels == 0)[:, None, None], [early, late], [late, early])  # [V, clips, D]
    features = np.repeat(clips, 3, axis=1) + rng.normal(size=(64, 6, 8))  # 3 crops of each clip
    values = Bank(features.astype(np.float32), labels, np.arange(64) // 2, 2)
    fold = Fold("f", tuple(range(32)), tuple(range(32, 64)))
    accuracy = {}
    for name, seen in (("views", values), ("sequence", values.in_sequence(crops=3))):
        scores = LinearProbe().scores(seen, fold).values
        accuracy[name] = (scores.mean(1).argmax(1) == labels[32:]).mean()
    assert values.in_sequence(3).features.shape == (64, 3, 16)
    np.testing.assert_array_equal(values.in_sequence(3).features[:, 1, 8:], values.features[:, 4])
    assert accuracy["views"] < 0.8
    assert accuracy["sequence"] == 1


def test_linear_probe_does_not_depend_on_the_scale_of_features():
    values = bank(separation=1)
    scaled = Bank(values.features * 1000 + 5, values.labels, values.groups, 3)
    args = (FOLD.train, FOLD.test, 0.1)
    np.testing.assert_allclose(
        LinearProbe().fit_predict(values, *args), LinearProbe().fit_predict(scaled, *args), atol=1e-2
    )


def test_knn_weights_are_the_papers():
    features = np.array([[[1.0, 0.0]], [[0.0, 1.0]], [[0.6, 0.8]]], dtype=np.float32)
    values = Bank(features, np.array([0, 1, 0]), np.arange(3), 2)
    votes = NearestNeighbours(temperature=0.5).fit_predict(values, [0, 1], [2], k=2)
    weights = np.exp(np.array([0.6, 0.8]) / 0.5)
    np.testing.assert_allclose(votes[0, 0], weights / weights.sum(), rtol=1e-5)


def test_retrieval_by_hand():
    features = np.array([[1, 0], [0.9, 0.1], [0, 1], [1, 0.05]], dtype=np.float32)[:, None]
    values = Bank(features, np.array([0, 1, 1, 1]), np.arange(4), 2)
    fold = Fold("f", (0, 1, 2), (3,))
    assert nearest_videos(values, fold.test, fold.train, 3).tolist() == [[0, 1, 2]]
    assert retrieval_hits(values, fold, (1, 2)).tolist() == [[False, True]]


def test_label_draws_are_balanced_repeatable_and_from_training_only():
    values = bank()
    drawn = draw_labels(values.labels, FOLD, 2, seed=1)
    assert drawn == draw_labels(values.labels, FOLD, 2, seed=1)
    assert drawn != draw_labels(values.labels, FOLD, 2, seed=2)
    assert set(drawn) <= set(FOLD.train)
    assert np.bincount(values.labels[list(drawn)]).tolist() == [2, 2, 2]
    assert draw_labels(values.labels, FOLD, 5, seed=0) is None


def test_one_runner_crosses_read_outs_and_banks_over_the_folds():
    class Constant:
        """A read-out of one's own: always predicts one class."""

        def __init__(self, label):
            self.label = label

        def scores(self, bank, fold):
            values = np.zeros((len(fold.test), bank.features.shape[1], bank.classes), np.float32)
            values[..., self.label] = 1
            return Scores(values, chosen=self.label)

    banks = [bank(seed=seed) for seed in (0, 1)]
    folds = Folds((FOLD, Fold("g", FOLD.test, FOLD.train)), tuple(map(str, range(24))))
    runs = predictions([Constant(0), Constant(1)], banks, folds)
    assert [[one.fold for one in run] for run in runs] == [["f", "g"]] * 4
    summary = cross_validate([Constant(0), Constant(1)], banks, folds.spread(1))
    assert summary.chosen == [[0], [1], [0], [1]]  # bank by bank
    assert summary.top1.per_seed == pytest.approx([1 / 3] * 4)
    assert summary.top1.per_fold.keys() == {"f"}
    with pytest.raises(TooFewLabels, match="f: a class has fewer than 5 training videos"):
        cross_validate([FewLabels(5, 0, 0.1)], banks, folds)
