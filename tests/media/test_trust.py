"""A skip that is an encoder's delay states it; any other states nothing."""

from __future__ import annotations

import math

import pytest

from avssl.media.trust import is_delay, largest_delay


@pytest.mark.parametrize(
    ("codec", "rate", "skipped", "states"),
    [
        ("aac", 48000, 1024, True),  # FFmpeg
        ("aac", 44100, 2112, True),  # Apple
        ("aac", 44100, 1044, True),  # FFmpeg, in a container of milliseconds
        ("aac", 16000, 0, False),
        ("aac", 16000, 384, False),  # after a cut that copies packets
        ("mp3", 44100, 1105, True),
        ("mp2", 44100, 0, False),
        ("wmav2", 44100, 2048, True),  # what its delays are isn't known: whatever is skipped is taken for one
        ("wmav2", 44100, 0, False),
    ],
)
def test_a_skip_states_the_delay_if_it_is_one(codec, rate, skipped, states):
    assert is_delay(codec, rate, skipped) == states


def test_the_delay_that_may_go_unsaid_is_bounded_by_the_codec():
    assert largest_delay("mp2", 44100) == pytest.approx(0.0109, abs=1e-4)  # GRID's recordings
    assert largest_delay("aac", 48000) == pytest.approx(0.044)
    assert largest_delay("aac", 16000) == pytest.approx(0.132)
    assert largest_delay("pcm_s16le", 8000) == largest_delay("flac", 8000) == 0
    assert largest_delay("wmav2", 44100) == math.inf
