"""Schedules by the step, and lengths in epochs, steps and shares."""

import math

import pytest

from avssl.methods.momentum import momentum_schedule
from avssl.recipe.lengths import UNSET, check_length, in_steps, run_steps
from avssl.recipe.schedules import Timetable, scale
from avssl.training import Recipe


def rates(schedule="cosine", warmup=0.0, steps=100, lr=1.0, per_epoch=1.0, **recipe):
    made = Timetable(Recipe(**recipe), schedule, warmup, steps, per_epoch)
    return [lr * made.rate(step, lr) for step in range(steps)]


def test_without_a_recipe_the_rate_is_the_plain_one():
    expected = [(step + 1) / 5 for step in range(5)]
    assert rates(warmup=0.05) == expected + [0.5 * (1 + math.cos(math.pi * (s - 5) / 95)) for s in range(5, 100)]
    assert rates("constant", 0.05) == expected + [1.0] * 95


def test_it_rises_from_a_value_and_falls_to_a_floor():
    for schedule in ("cosine", "linear"):
        found = rates(schedule, "10 steps", 1000, lr=0.5, lr_start=0.1, lr_end=0.01)
        assert [found[0], found[4], found[9], found[10]] == pytest.approx([0.14, 0.3, 0.5, 0.5])
        assert found[-1] == pytest.approx(0.01, abs=1e-3)
        assert found[505] == pytest.approx(0.255)  # half way
    assert sorted(found[10:], reverse=True) == found[10:]


def test_a_stretched_schedule_is_that_of_a_longer_run():
    for schedule in ("cosine", "linear"):
        longer = rates(schedule, "10 steps", 125, lr_end=0.1)
        assert rates(schedule, "10 steps", 100, lr_end=0.1, stretch=1.25) == longer[:100]
    short, long = (Timetable(Recipe(decay_end=0.4, stretch=s), "cosine", 0, n) for s, n in ((1.25, 80), (1.0, 100)))
    assert [short.decay(step, 0.04) for step in range(80)] == [long.decay(step, 0.04) for step in range(80)]
    assert (long.decay(0, 0.04), long.decay(50, 0.04), long.decay(100, 0.04)) == pytest.approx((0.04, 0.22, 0.4))


def test_steps_fall_where_they_should():
    found = rates("step", 0, 300, per_epoch=10, lr_steps=("20 epochs", 0.9), lr_factor=0.1)
    assert (found[199], found[200], found[269], found[270]) == pytest.approx((1.0, 0.1, 0.1, 0.01))


def test_the_momentum_of_momentum_encoders():
    for progress in (0.0, 0.3, 1.0):
        assert Timetable(Recipe(), "cosine", 0, 1).momentum(0.9, progress) == momentum_schedule(0.9, progress)
        assert Timetable(Recipe(ema="constant"), "cosine", 0, 1).momentum(0.9, progress) == 0.9
    vjepa = Timetable(Recipe(ema="linear", stretch=1.25), "cosine", 0, 1)
    assert vjepa.momentum(0.998, 1.0) == pytest.approx(0.998 + 0.002 / 1.25)


def test_lengths():
    assert [in_steps(length, 1000, 7.0) for length in (0.05, "4 epochs", "1 epoch", "30 steps")] == [50, 28, 7, 30]
    for wrong in ("40", "40 eons", "epochs", 1.5, -0.1):
        with pytest.raises(ValueError, match="warmup is "):
            check_length("warmup", wrong)
    assert run_steps(5, None, 7) == 5
    assert run_steps(UNSET, 2.5, 7) == 18
    for both in ((UNSET, None), (5, 2.0), (0, None)):
        with pytest.raises(ValueError, match="max_steps"):
            run_steps(*both, 7)


def test_the_rule_for_large_batches():
    assert scale(Recipe(lr_per=256, accumulate=4), 512) == 8.0
    assert scale(Recipe(accumulate=4), 512) == 1.0
