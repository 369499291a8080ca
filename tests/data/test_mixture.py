import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avssl.data import Mixture

SIZES, WEIGHTS = (40, 3, 200), (0.335, 0.1, 0.565)
ITEMS = [np.arange(40), 100 + np.arange(3), 1000 + np.arange(200)]


def owner(index):
    return next(number for number, items in enumerate(ITEMS) if index in items)


def mixture(stop, start=0, seed=0, rank=0, world=1, batch=24):
    return Mixture(ITEMS, WEIGHTS, batch, stop, start, seed, rank, world)


def test_each_collection_fills_its_share_of_every_batch_and_exactly_its_weight_in_the_long_run():
    counts = np.array([np.bincount([owner(index) for _, index in batch], minlength=3) for batch in mixture(600)])
    wanted = 24 * np.array(WEIGHTS)
    assert (np.abs(counts - wanted) < 1).all()
    assert (counts.sum(1) == 24).all()
    assert np.abs(counts.mean(0) - wanted).max() < 0.1
    assert len({tuple(row) for row in counts}) > 2  # rounded anew at every step


def test_every_collection_is_read_in_passes_of_its_own_and_no_item_comes_twice():
    items = [item for batch in mixture(100) for item in batch]
    assert len(set(items)) == len(items)
    for number, size in enumerate(SIZES):
        own = [item for item in items if owner(item[1]) == number]
        passes = [epoch for epoch, _ in own]
        assert passes == sorted(passes)
        for epoch in range(passes[-1]):
            assert sorted(index for at, index in own if at == epoch) == ITEMS[number].tolist()
    tiny = [index for _, index in items if owner(index) == 1]
    assert len({tuple(tiny[place : place + 3]) for place in range(0, 30, 3)}) > 1  # each pass a new permutation


@settings(max_examples=20, deadline=None)
@given(st.sampled_from([(24, 1), (24, 4), (10, 4), (7, 3)]), st.integers(0, 12), st.integers(0, 99))
def test_ranks_share_every_batch_and_any_step_can_be_the_first(shape, start, seed):
    batch, world = shape
    whole = [list(mixture(14, 0, seed, rank, world, batch)) for rank in range(world)]
    assert all(len({len(share) for share in shares}) == 1 for shares in zip(*whole, strict=True))
    items = [item for share in whole for part in share for item in part]
    assert len(set(items)) == len(items)
    for rank in range(world):
        assert list(mixture(14, start, seed, rank, world, batch)) == whole[rank][start:]
        assert list(mixture(20, start, seed, rank, world, batch))[: 14 - start] == whole[rank][start:]  # a longer run
    assert len(mixture(14, start)) == 14 - start


def test_wrong_mixtures_are_refused():
    with pytest.raises(ValueError, match=r"2 numbers and data\.root 3"):
        Mixture(ITEMS, (1, 1), 8, 1)
    with pytest.raises(ValueError, match="weights is"):
        Mixture(ITEMS, (1, 0, 1), 8, 1)
    with pytest.raises(ValueError, match="collection 2"):
        Mixture([ITEMS[0], ITEMS[1][:0]], (1, 1), 8, 1)
