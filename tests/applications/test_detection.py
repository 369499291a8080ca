from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from avssl.applications.detection import _area, auroc


def test_the_fast_area_is_scikit_learns():
    rng = np.random.default_rng(0)
    for _ in range(20):
        values, truth = rng.integers(6, size=30).astype(float), rng.random(30) < 0.3
        if 0 < truth.sum() < 30:
            assert _area(values, truth) == pytest.approx(roc_auc_score(truth, values), abs=1e-12)


def test_the_interval_is_over_groups():
    rng = np.random.default_rng(1)
    odd = np.arange(200) % 2 == 1
    scores = rng.normal(size=200) + odd
    alone = auroc(scores, odd, range(200))
    together = auroc(np.repeat(scores, 5), np.repeat(odd, 5), np.repeat(range(200), 5).tolist())
    assert alone.value == pytest.approx(together.value)
    assert np.allclose(alone.ci95_bootstrap, together.ci95_bootstrap)
    assert alone.ci95_bootstrap[0] < alone.value < alone.ci95_bootstrap[1]
    noise = auroc(rng.normal(size=400), np.arange(400) % 2 == 1, range(400))
    assert noise.ci95_bootstrap[0] < 0.5 < noise.ci95_bootstrap[1]


@pytest.mark.parametrize(
    ("scores", "odd", "message"),
    [([1, 2], [True, True], "2 of 2 items are odd"), ([1, float("nan")], [True, False], "1 of 2 scores")],
)
def test_what_can_not_be_judged_is_refused(scores, odd, message):
    with pytest.raises(ValueError, match=message):
        auroc(scores, odd, [0, 1])
