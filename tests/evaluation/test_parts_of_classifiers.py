"""The parts of a classifier: calibration, the curve over labels, shapes of features, heads, batches that halve."""

import numpy as np
import pytest
import torch

from avssl.evaluation.calibration import fit_temperature, temper
from avssl.evaluation.classifier.head import linear_head
from avssl.evaluation.classifier.shapes import Shape
from avssl.evaluation.features import Views
from avssl.evaluation.layout import Layouts, MeanOfShapes
from avssl.evaluation.learning_curve import fit_power
from avssl.evaluation.probes import LinearProbe
from avssl.evaluation.readout import Bank
from avssl.evaluation.splits import Fold
from avssl.runtime.halving import Halving

VIEWS = Views(clips=2, num_frames=4, step=0.1, size=32)
PROBE = LinearProbe(strengths=(0.01, 1.0), inner_folds=2)


def test_the_temperature_is_found():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 3)) * 2
    true = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = np.array([rng.choice(3, p=row) for row in true])
    bold = temper(true, 0.5)
    assert fit_temperature(bold, labels) == pytest.approx(2, rel=0.1)
    np.testing.assert_allclose(temper(bold, 2.0), true, atol=1e-3)


def test_a_power_law_is_found():
    shots = [1, 2, 4, 8, 16]
    a, b, c = fit_power(shots, 0.1 + 0.6 * np.array(shots, float) ** -0.5)
    assert (a, b, c) == pytest.approx((0.1, 0.6, 0.5), abs=0.02)
    assert fit_power(shots, np.full(5, 0.3))[0] == pytest.approx(0.3)


def shaped(features, labels):
    shapes = {name: Shape(name, VIEWS) for name in ("pooled", "sequence")}
    return Layouts({name: shape.bank(features, labels, np.arange(40), 2, 6) for name, shape in shapes.items()})


def test_the_order_of_clips_counts_where_only_it_tells():
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2
    features = rng.normal(size=(40, 2, 6)).astype(np.float32)
    features[:, :, 0] += np.where(labels[:, None] == [0, 1], 4, -4)  # the sum over clips is the same
    banks = shaped(features, labels)
    fold = Fold("half", tuple(range(20)), tuple(range(20, 40)))
    found = MeanOfShapes(PROBE).scores(banks, fold)
    assert found.chosen.keys() == banks.banks.keys()
    assert (found.values.mean(1).argmax(1) == labels[20:]).mean() > 0.9


def test_batches_halve_when_memory_runs_out(capsys):
    def small(part):
        if len(part) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return part * 2

    parts = Halving(8)
    assert torch.equal(parts(small, torch.arange(10)), torch.arange(10) * 2)
    assert parts.size == 2
    assert "batches of 2" in capsys.readouterr().err

    def never(part):
        raise torch.OutOfMemoryError

    with pytest.raises(ValueError, match="too small for one item"):
        parts(never, torch.arange(2))


@pytest.mark.parametrize("solver", ["sklearn", "device"])
@pytest.mark.parametrize("kind", ["two", "four", "several"])
def test_the_head_gives_the_probabilities_of_its_probe(solver, kind):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 2, 5)).astype(np.float32) * [1, 2, 3, 4, 0] + 7
    labels = rng.integers(2 if kind == "two" else 4, size=60)
    if kind == "several":  # the last class is shown by all
        labels = np.concatenate([np.where(rng.random((60, 2)) < 0.5, 1, -1), np.ones((60, 1), int)], 1)
    classes = {"two": 2, "four": 4, "several": 3}[kind]
    bank = Bank(features.astype(np.float32), labels, np.arange(60), classes)
    probe, rows = LinearProbe(solver=solver), range(60)
    logits = linear_head(bank, rows, probe, 0.1)(torch.from_numpy(bank.features))
    found = logits.sigmoid() if kind == "several" else logits.softmax(2)
    expected = torch.from_numpy(probe.fit_predict(bank, rows, rows, 0.1))
    assert (found - expected).abs().max() < 1e-5
    assert expected.std(0).max() > 0.02
