"""Accuracies against hand counts."""

from dataclasses import replace

import numpy as np
import pytest

from avssl.evaluation.metrics import Prediction, bootstrap, gain, summarise
from avssl.evaluation.results import Score


def prediction(scores, labels, fold="f", part="", videos=None):
    labels = np.array(labels)
    return Prediction(fold, part, np.arange(len(labels)) if videos is None else np.array(videos), labels,
                      np.array(scores, dtype=np.float32))  # fmt: skip


def test_clip_and_video_accuracy_are_told_apart():
    # video 0: two of three clips are wrong, but the mean probability is right
    scores = [[[0.9, 0.1], [0.4, 0.6], [0.4, 0.6]], [[0.2, 0.8], [0.1, 0.9], [0.3, 0.7]]]
    result = summarise([[prediction(scores, [0, 1])]], ["a", "b"])
    assert result.top1.value == 1
    assert result.clip["top1"].value == pytest.approx((1 / 3 + 1) / 2)
    assert result.confusion == [[1, 0], [0, 1]]


def test_mean_per_class_and_top5():
    scores = np.eye(7)[[0, 0, 0, 6]][:, None] + np.linspace(0.06, 0, 7)  # second best is class 0, then 1, 2, 3
    result = summarise([[prediction(scores, [0, 0, 4, 5])]], list("abcd"))
    assert result.top1.value == 0.5
    assert result.mean_per_class == pytest.approx(1 / 3)  # classes 0, 4, 5: 1, 0, 0
    assert result.video["top5"].value == 0.75  # class 4 is fifth; class 5 is seventh


def test_folds_are_averaged_within_parts_first():
    right, wrong = [[[1.0, 0.0]]], [[[0.0, 1.0]]]
    run = [
        prediction(right, [0], "1", "set1", [0]),
        prediction(right, [0], "2", "set1", [1]),
        prediction(right, [0], "3", "set1", [2]),
        prediction(wrong, [0], "4", "set2", [3]),
    ]
    top1 = summarise([run], list("abcd")).top1
    assert top1.value == 0.5
    assert top1.pooled == 0.75
    assert top1.per_part == {"set1": 1.0, "set2": 0.0}
    assert top1.per_fold == {"1": 1.0, "2": 1.0, "3": 1.0, "4": 0.0}


def test_bootstrap_interval_has_the_width_of_theory_and_widens_with_groups_and_seeds():
    rng = np.random.default_rng(0)
    values = (rng.random((1, 400)) < 0.5).astype(float)
    low, high = bootstrap(values, [str(i) for i in range(400)], seed=0)
    assert high - low == pytest.approx(2 * 1.96 * 0.5 / 20, rel=0.15)
    together = np.repeat(values[:, :40], 10, axis=1)
    low, high = bootstrap(together, [str(i // 10) for i in range(400)], seed=0)
    assert high - low == pytest.approx(2 * 1.96 * 0.5 / np.sqrt(40), rel=0.25)
    seeds = np.stack([np.zeros(400), np.ones(400)])
    assert bootstrap(seeds, [str(i) for i in range(400)], seed=0) == (0, 1)


def summary_of(right, groups=None):
    """A summary of one prediction a row of ``right``: ``[S, V]`` of 0 and 1, of videos of class 0."""
    runs = [[prediction([[[1.0, 0.0]] if hit else [[0.0, 1.0]] for hit in row], [0] * len(row))] for row in right]
    return summarise(runs, groups or [str(i) for i in range(len(right[0]))])


def test_gain_is_the_difference_and_its_interval_that_of_the_differences_of_videos():
    rng = np.random.default_rng(0)
    base = (rng.random((1, 900)) < 0.5).astype(int)
    ours = base | (rng.random((1, 900)) < 0.1)  # a tenth of what was wrong is right
    found = gain([summary_of(ours)], summary_of(base))
    low, high = found.ci95_bootstrap
    difference = (ours - base)[0]
    assert found.value == pytest.approx(difference.mean())
    assert high - low == pytest.approx(2 * 1.96 * difference.std() / 30, rel=0.1)
    apart = [summary_of(each).top1.ci95_bootstrap for each in (ours, base)]
    assert apart[0][0] < apart[1][1]  # beside each other the intervals overlap
    assert low > 0


def test_gain_draws_whole_groups_and_runs():
    base = np.zeros((2, 40), dtype=int)
    groups = [str(i // 20) for i in range(40)]
    half = np.repeat([[1, 0]], 20, axis=1)
    assert gain([summary_of(half, groups)], summary_of(base, groups)) == Score(0.5, (0.0, 1.0))
    runs = [summary_of(np.full((1, 40), hit), groups) for hit in (0, 1)]
    assert gain(runs, summary_of(base, groups)) == Score(0.5, (0.0, 1.0))


def test_gain_on_some_of_the_videos_does_not_depend_on_the_numbers_of_their_groups():
    rng = np.random.default_rng(0)
    ours, base = ((rng.random((1, 60)) < share).astype(int) for share in (0.7, 0.5))
    groups = [str(i // 6) for i in range(60)]
    sides = summary_of(ours, groups), summary_of(base, groups)
    found = gain([sides[0]], sides[1])
    other = [replace(side, units=[3 * unit + 1 for unit in side.units]) for side in sides]
    assert gain([other[0]], other[1]) == found


def test_gain_refuses_other_videos_and_knows_results_without_hits():
    three, four = summary_of([[1, 0, 1]]), summary_of([[1, 0, 1, 1]])
    with pytest.raises(ValueError, match="on the same videos"):
        gain([three], four)
    assert gain([three], replace(three, hits=None)) is None
