"""The four numbers against their formulas and extremes."""

import math

import pytest
import torch

from avssl.evaluation.collapse import alignment, feature_std, monitors, rankme, uniformity


def test_a_collapsed_embedding():
    features = torch.ones(16, 8)
    assert feature_std(features) == pytest.approx(0, abs=1e-6)
    assert rankme(features) == pytest.approx(1, abs=1e-4)
    assert alignment(features, features) == 0
    assert uniformity(features) == pytest.approx(0, abs=1e-5)


def test_an_even_embedding():
    torch.manual_seed(0)
    features = torch.randn(4096, 16)
    assert feature_std(features) == pytest.approx(1 / math.sqrt(16), rel=0.05)
    assert rankme(features) == pytest.approx(16, rel=0.02)
    assert rankme(torch.eye(8)) == pytest.approx(8, rel=1e-5)
    assert alignment(features, -features) == pytest.approx(4, rel=1e-5)


def test_uniformity_is_the_formula_over_pairs():
    torch.manual_seed(0)
    points = torch.nn.functional.normalize(torch.randn(6, 3), dim=1)
    pairs = [math.exp(-2 * float((points[i] - points[j]).square().sum())) for i in range(6) for j in range(i)]
    assert uniformity(points * 7) == pytest.approx(math.log(sum(pairs) / len(pairs)), rel=1e-4)


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\[N, D\] of at least two items, got \[1, 4\]"):
        rankme(torch.zeros(1, 4))


def test_monitors_of_a_collapsed_and_of_an_even_embedding():
    torch.manual_seed(0)
    even = monitors(torch.randn(2048, 1, 16).expand(-1, 2, -1))
    assert even["feature_std"] == pytest.approx(1, rel=0.05)
    assert even["rankme"] == pytest.approx(16, rel=0.05)
    assert even["alignment"] == 0
    collapsed = monitors(torch.ones(8, 1, 16))
    assert collapsed["feature_std"] < 1e-5
    assert "alignment" not in collapsed
