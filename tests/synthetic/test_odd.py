"""Odd acts of the synthetic world: where they are said to be, and nothing else."""

import numpy as np
import pytest

from avssl.synthetic import Scene, World, write_world
from avssl.synthetic.actions import GRAVITY

PLAIN, ODD = World(videos=48), World(videos=48, odd=1.0)


@pytest.fixture(scope="module")
def pairs():
    """Scenes with and without their odd acts."""
    return [(Scene(PLAIN, index), Scene(ODD, index)) for index in range(48)]


def of_kind(pairs, kind):
    found = [(plain, odd) for plain, odd in pairs if odd.odd is not None and odd.odd.kind == kind]
    assert len(found) >= 3, kind
    return found


def test_worlds_without_odd_acts_are_what_they_were():
    assert World().key == "7c281ba4de4a"
    assert "odd" not in PLAIN.settings
    assert all(Scene(PLAIN, index).odd is None for index in range(8))
    assert World(odd=0.5).key != World().key
    with pytest.raises(ValueError, match=r"World\.odd"):
        World(odd=1.5)


def test_before_an_odd_act_all_is_as_without_it(pairs):
    for plain, odd in pairs:
        assert odd.odd is not None
        assert 0.1 * ODD.seconds < odd.odd.start < odd.odd.stop <= ODD.seconds
        before = np.linspace(0, odd.odd.start - 1e-6, 20)
        np.testing.assert_allclose(plain.places(before), odd.places(before), atol=1e-9)
    for plain, odd in pairs[:8]:
        samples = int((odd.odd.start - 0.01) * ODD.rate)
        loud = np.abs(plain.sound()[:samples] - odd.sound()[:samples]).max()
        assert loud < 0.05  # later motion changes the noise of sliding and the gain


def test_a_bounce_rises_higher_than_it_fell(pairs):
    for _, odd in of_kind(pairs, "high"):
        start = odd.odd.start
        fell = -odd.places(np.linspace(start - 1.2, start, 400))[:, :, 1]
        rose = -odd.places(np.linspace(start, start + 0.9, 400))[:, :, 1]
        mine = np.abs(fell[:, -1]).argmin()  # the one that is on the floor
        last_fall = fell[mine][np.flatnonzero(fell[mine][:-20] < 1e-2).max(initial=0) :].max()
        assert rose[mine].max() > min(1.8 * last_fall, 0.125 * GRAVITY)


def test_two_things_pass_through_each_other(pairs):
    for plain, odd in of_kind(pairs, "through"):
        inside = np.linspace(odd.odd.start, odd.odd.stop, 200)
        apart = [
            np.linalg.norm(np.diff(each.places(inside)[:, :, :3], axis=0)[0], axis=1).min() for each in (odd, plain)
        ]
        assert apart[0] < 0.1 < apart[1]


def test_an_impact_is_mute_or_late_and_all_is_seen_as_before(pairs):
    times = np.linspace(0, ODD.seconds, 100)
    for kind in ("mute", "late"):
        for plain, odd in of_kind(pairs, kind):
            np.testing.assert_array_equal(plain.places(times), odd.places(times))
            np.testing.assert_array_equal(plain.impacts, odd.impacts)
            places = [int((odd.odd.start + delay) * ODD.rate) for delay in (0.0, odd.odd.delay)]
            before, after = (np.abs(each.sound()[places[0] : places[0] + 400]).max() for each in (plain, odd))
            assert after < 0.7 * before
            if kind == "late":
                assert np.abs(odd.sound()[places[1] : places[1] + 400]).max() > 0.7 * before


def test_the_table_says_which_and_when(tmp_path):
    world = World(videos=9, seconds=2.0, size=32, odd=0.6)
    write_world(world, tmp_path, workers=1)
    rows = [line.split(",") for line in (tmp_path / "odd.csv").read_text().splitlines()]
    assert rows[0] == ["path", "label", "start", "stop"]
    odd = {world.path(index): Scene(world, index).odd for index in range(9)}
    assert {row[0] for row in rows[1:]} == {path for path, found in odd.items() if found}
    assert 0 < len(rows) - 1 < 9
    for path, kind, start, stop in rows[1:]:
        assert (kind, float(start), float(stop)) == (
            odd[path].kind,
            pytest.approx(odd[path].start, abs=1e-3),
            pytest.approx(odd[path].stop, abs=1e-3),
        )
