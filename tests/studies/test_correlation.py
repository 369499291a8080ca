"""Rank correlations are scipy's, and their intervals hold what a large sample shows."""

import numpy as np
import pytest
from scipy import stats

from avssl.studies import rank_correlation, rank_correlations


def test_it_is_the_known_coefficient_and_an_order_kept_is_one():
    rng = np.random.default_rng(0)
    first = rng.normal(size=40)
    second = first + rng.normal(size=40)
    assert rank_correlation(first, second).value == pytest.approx(stats.spearmanr(first, second).statistic)
    assert rank_correlation(first, second, "pearson").value == pytest.approx(stats.pearsonr(first, second).statistic)
    kept = rank_correlation(first, np.exp(3 * first))
    assert kept.value == pytest.approx(1)
    assert kept.ci95_bootstrap == pytest.approx((1, 1))


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(60):
        first = rng.normal(size=40)
        low, high = rank_correlation(first, 0.6 * first + 0.8 * rng.normal(size=40), "pearson").ci95_bootstrap
        inside += low <= 0.6 <= high
    assert 51 <= inside <= 60


def test_what_is_missing_is_left_out_and_too_little_is_nothing():
    gaps = [1, 2, np.nan, 3, 4]
    assert rank_correlation(gaps, [4, 3, 9, 2, 1]).value == pytest.approx(-1)
    assert rank_correlation([1, 2], [2, 1]) is None
    assert rank_correlation([1, 1, 1], [1, 2, 3]) is None
    found = rank_correlations([[1, 2, 0], [2, 4, 0], [3, 6, 0]], ["a", "b", "c"])
    assert found["a", "b"].value == pytest.approx(1)
    assert found["a", "c"] is None
    with pytest.raises(ValueError, match=r"expected a table \[runs, 2\]"):
        rank_correlations([[1, 2, 3]], ["a", "b"])
