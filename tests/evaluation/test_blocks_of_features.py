"""Read-outs by blocks on a device: the same as scikit-learn's and as sorting everything, in memory that stays flat."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from avssl.evaluation import blocks, choosing, probes
from avssl.evaluation.choosing import choose
from avssl.evaluation.probes import LinearProbe, NearestNeighbours, nearest_videos
from avssl.evaluation.readout import Bank
from avssl.evaluation.settings import plain
from avssl.evaluation.splits import Fold

TRAIN, TEST = list(range(200)), list(range(200, 320))


def bank(classes=4, several=False, views=2, width=12):
    """Videos whose classes overlap, with features that are correlated, far from zero, and one that never varies."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, 320)
    shown = labels[:, None] == np.arange(classes)
    if several:
        shown |= rng.random(shown.shape) < 0.2
        labels = np.where(shown, 1, -1).astype(np.int8)
        labels[::7, 1], labels[:, 2], labels[:200, 3] = 0, -1, 1
    mix = rng.normal(size=(width, width)) * np.arange(1, width + 1) ** -1.0
    features = shown[:, None] @ rng.normal(size=(classes, width)) + rng.normal(size=(320, views, width)) @ mix + 3
    features[..., 5] = 2
    return Bank(features.astype(np.float32), labels, np.arange(320) // 4, classes)


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(blocks, "NUMBERS", 2000)


def exact(probe, x, y, strength):
    return LogisticRegression(C=strength, tol=1e-6, max_iter=2000).fit(x.astype(np.float64), y)


@pytest.mark.parametrize("kind", [{"classes": 4}, {"classes": 2}, {"several": True}])
def test_the_device_minimises_what_scikit_learn_does_at_several_strengths_at_once(kind, small_blocks, monkeypatch):
    values, strengths = bank(**kind), (1e-3, 1e-2, 1.0)
    # Both up to the minimum: where each stops by default depends on its way there.
    monkeypatch.setattr(LinearProbe, "_fit", exact)
    # A class that no training video shows, and a scale from other videos too.
    train = [row for row in TRAIN if values.labels.ndim == 2 or values.labels[row] != 3]
    args = (values, train, TEST, strengths, TRAIN)
    ours, theirs = (list(LinearProbe(solver=name).candidates(*args, tolerance=1e-5)) for name in ("device", "sklearn"))
    for found, expected in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(found, expected, atol=5e-3)
    assert np.abs(ours[0] - ours[2]).max() > 0.1  # strengths differ more than solvers


def test_features_on_disk_are_read_in_blocks_and_give_the_same(tmp_path, small_blocks, monkeypatch):
    monkeypatch.setattr(probes, "TOLERANCE", 1e-5)
    monkeypatch.setattr(LinearProbe, "_fit", exact)
    values = bank()
    stored = np.memmap(tmp_path / "features", np.float16, "w+", shape=values.features.shape)
    stored[:] = values.features
    asked = []

    class Shards:
        """Features that are read by rows only."""

        shape = stored.shape

        def __getitem__(self, rows):
            asked.append(len(stored[rows]))
            return stored[rows].astype(np.float32)

    memory = replace(values, features=np.asarray(stored, np.float32))
    fold = Fold("f", tuple(TRAIN), tuple(TEST))
    for read_out in (LinearProbe(strengths=(1e-2, 1.0)), NearestNeighbours(ks=(3, 8))):
        first, second = read_out.scores(memory, fold), read_out.scores(replace(values, features=Shards()), fold)
        assert first.chosen == second.chosen
        np.testing.assert_allclose(first.values, second.values, atol=0.01)
    assert len(asked) > 20
    assert max(asked) < 100
    found = nearest_videos(replace(values, features=Shards()), TEST, TRAIN, 7)
    np.testing.assert_array_equal(found, nearest_videos(memory, TEST, TRAIN, 7))


def test_of_equally_near_videos_the_first_are_kept_whatever_the_blocks(small_blocks, monkeypatch):
    rng = np.random.default_rng(0)
    few = np.concatenate([np.eye(4), np.array(list(product((-0.5, 0.5), repeat=4)))])  # of length 1 without rounding
    features = few[rng.integers(0, len(few), (320, 1))].astype(np.float32)  # ties everywhere
    values = Bank(features, rng.integers(0, 3, 320), np.arange(320), 3)
    expected = nearest_videos(values, TEST, TRAIN, 50)
    monkeypatch.setattr(blocks, "LARGE", 0)
    np.testing.assert_array_equal(nearest_videos(values, TEST, TRAIN, 50), expected)


def test_a_large_inner_fold_decides_alone_with_a_part_of_its_videos(monkeypatch):
    monkeypatch.setattr(choosing, "ENOUGH", 30)
    values, asked = bank(), []

    def predict(bank_, train, held, candidates):
        asked.append(held)
        return [np.eye(4)[(bank_.labels[held] + wrong) % 4][:, None] for wrong in candidates]

    assert choose((1, 0, 2), values, Fold("f", tuple(TRAIN), tuple(TEST)), 3, predict) == 0
    assert [len(set(held)) for held in asked] == [30]


def test_settings_name_the_solver_only_where_it_is_not_the_default():
    assert "solver" not in plain(LinearProbe())
    assert plain(LinearProbe(solver="device"))["solver"] == "device"
