"""Affinity recovers known strengths; likeness ignores what it should; ridge regression is what it says."""

import json

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.model_selection import LeaveOneOut, cross_val_predict

from avssl.cli import main
from avssl.encoders import R3D, save_encoder
from avssl.studies.affinity import normalised_affinity, wins
from avssl.studies.similarity import cca, cka, matrices_agree, rsa, similarities, vectors_agree
from avssl.studies.targets import STRENGTHS, TARGETS, held_out

RNG = np.random.default_rng(0)


def test_affinity_recovers_strengths_and_ties_are_equal():
    strength = np.array([0.1, 0.2, 0.3, 0.4])
    shares = strength[:, None] / (strength[:, None] + strength)
    np.testing.assert_allclose(normalised_affinity(shares), strength)
    errors = np.array([[1.0, 1, 3, 3], [2, 2, 1, 1], [1, 1, 3, 3]])
    found = wins(errors)
    np.testing.assert_allclose(found + found.T, 1)
    assert found[0, 1] == 0.5
    assert found[0, 2] == 0.5
    assert normalised_affinity(wins(np.array([[1.0] * 9, [2.0] * 9]))).argmax() == 0


def test_likeness_ignores_rotation_and_scale_and_sees_nothing_in_noise():
    one = RNG.normal(size=(200, 12)) * np.linspace(1, 3, 12)
    turned = 5 * one @ np.linalg.qr(RNG.normal(size=(12, 12)))[0]
    noise = RNG.normal(size=(200, 12))
    for measure in (rsa, cka, cca):
        same = 5 * one if measure is rsa else turned  # RSA centres each sample's features, which a rotation changes
        assert measure(one, same) == pytest.approx(1)
        assert measure(one, noise) < 0.3
    assert cka(one, one @ np.diag(np.linspace(1, 5, 12))) < 0.99  # an invertible map changes it, but not CCA
    assert cca(one, one @ np.diag(np.linspace(1, 1.2, 12))) == pytest.approx(1)
    centred = [values - values.mean(0) for values in (one, noise)]
    expected = np.linalg.norm(centred[1].T @ centred[0]) ** 2
    expected /= np.linalg.norm(centred[0].T @ centred[0]) * np.linalg.norm(centred[1].T @ centred[1])
    assert cka(one, noise) == pytest.approx(expected)  # Kornblith et al., equation 3


def test_permutations_tell_agreement_from_chance():
    points = RNG.normal(size=(8, 2))
    near = -np.linalg.norm(points[:, None] - points[None], axis=2)
    assert matrices_agree(near, near).p < 0.01
    other = RNG.normal(size=(8, 8))
    assert matrices_agree(near, other + other.T).p > 0.05
    assert vectors_agree(np.arange(8.0), np.arange(8.0)).value == pytest.approx(1)
    assert vectors_agree(np.arange(3.0), np.arange(3.0)) is None
    assert similarities([points, points, RNG.normal(size=(8, 2))], cka)[0, 1] == pytest.approx(1)


def test_ridge_chooses_by_leaving_one_out():
    values, weights = RNG.normal(size=(60, 9)), RNG.normal(size=(9, 2))
    target = values @ weights + 2.0 * RNG.normal(size=(60, 2))
    train, test = list(range(50)), list(range(50, 60))
    found = held_out(values, target, [(train, test)])
    assert np.isnan(found[:50]).all()
    x = (values - values[train].mean(0)) / values[train].std(0) / 3
    y = (target - target[train].mean(0)) / target[train].std(0)
    mean = np.linalg.eigvalsh(x[train] @ x[train].T).mean()
    reached = []
    for strength in STRENGTHS * mean:
        ridge = Ridge(strength)  # each fit has the means of its own samples
        left_out = cross_val_predict(ridge, x[train], y[train], cv=LeaveOneOut())
        reached.append((((left_out - y[train]) ** 2).mean(), strength))
    best = Ridge(min(reached)[1], fit_intercept=False).fit(x[train], y[train]).predict(x[test])
    np.testing.assert_allclose(found[test], best * target[train].std(0) + target[train].mean(0), rtol=1e-6)
    shuffled = held_out(values, RNG.permutation(target), [(train, test), (test, train)])
    assert ((shuffled - target) ** 2).mean() > 0.8 * target.var()  # nothing is learnt of shuffled targets


def test_nothing_is_learnt_of_noise_with_more_features_than_samples():
    """The prediction is the mean; a strength chosen with the left-out sample in the means would be the weakest."""
    values, target = RNG.normal(size=(150, 600)), RNG.normal(size=(150, 3))
    folds = [([i for i in range(150) if i % 5 != part], list(range(part, 150, 5))) for part in range(5)]
    assert ((held_out(values, target, folds) - target) ** 2).mean() < 1.05 * target.var()


def test_the_command(tmp_path, capsys):
    torch.manual_seed(0)
    for name in ("one", "two"):
        card = {"mean": [0.4] * 3, "std": [0.25] * 3, "size": [32, 32]}
        save_encoder(R3D(width=8, differences=True), tmp_path / name / "encoder", card)
    runs = f"[{tmp_path / 'one'},{tmp_path / 'two'}]"
    words = ["study", "affinity", runs, f"--out={tmp_path / 'out'}", "--scenes=24", "--size=32", "--machine.device=cpu"]
    assert main(words) == 0
    assert "rank correlation of" in capsys.readouterr().out
    found = json.loads((tmp_path / "out" / "affinity.json").read_text())
    assert found["targets"] == list(TARGETS)
    assert len(found["sources"]) == 4  # two runs of one network, it untrained, and motion energy
    np.testing.assert_allclose(np.sum(found["affinity"], axis=0), 1)
    np.testing.assert_allclose(np.diag(found["alike"]["CKA"]), 1)
    assert (tmp_path / "out" / "affinity.png").stat().st_size > 10_000
    assert main([*words[:2], f"[{tmp_path / 'one'},{tmp_path / 'one'}]"]) == 2


def test_a_channel_that_was_dead_in_training_does_not_decide():
    values = RNG.normal(size=(60, 9))
    target = values @ RNG.normal(size=(9, 1))
    values = np.concatenate([values, 1e-9 * RNG.normal(size=(60, 1))], 1)
    values[50:, -1] = 0.5
    found = held_out(values, target, [(list(range(50)), list(range(50, 60)))])[50:]
    assert ((found - target[50:]) ** 2).mean() < 0.2 * target.var()
