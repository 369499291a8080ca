import math

import numpy as np
import pytest
import torch

from avssl.encoders.spectrogram import FLOOR, LogMel, Masks


def log_mel(sound, rate=16000, bands=64, window=400, hop=160, bins=512, low=60.0, high=7600.0):
    """The same by loops and the definition: periodic Hann window, power, HTK's mel scale, triangles of height 1."""
    shape = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    before = (bins - window) // 2  # the window lies in the middle of the transform
    columns = []
    for begin in range(0, len(sound) - bins + 1, hop):
        piece = sound[begin + before : begin + before + window] * shape
        columns.append(np.abs(np.fft.rfft(piece, bins)) ** 2)

    def mel(hertz):
        return 2595 * math.log10(1 + hertz / 700)

    corners = 700 * (10 ** (np.linspace(mel(low), mel(high), bands + 2) / 2595) - 1)
    hertz = np.arange(bins // 2 + 1) * rate / bins
    triangles = [
        np.clip(np.minimum((hertz - a) / (b - a), (c - hertz) / (c - b)), 0, None)
        for a, b, c in zip(corners, corners[1:], corners[2:], strict=False)
    ]
    return np.log(np.stack(triangles) @ np.stack(columns, 1) + FLOOR)


def test_log_mel_is_its_definition():
    sound = 0.1 * np.random.default_rng(0).standard_normal(4000)
    expected = log_mel(sound)
    assert LogMel()(torch.from_numpy(sound)).numpy() == pytest.approx(expected, abs=2e-3)


def test_column_k_begins_at_k_hops_and_silence_is_the_floor():
    mel, sound = LogMel(), torch.randn(1, 4000)
    torch.testing.assert_close(mel(sound[:, 160:]), mel(sound)[..., 1:])
    assert mel(torch.zeros(1600)).unique().item() == pytest.approx(math.log(FLOOR))


def test_it_is_float32_under_autocast_and_no_part_of_an_export():
    mel, sound = LogMel(), torch.randn(2, 2000)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        again = mel(sound)
    assert again.dtype == torch.float32
    assert torch.equal(again, mel(sound))
    assert mel.state_dict() == {}


def test_masks_hide_a_stretch_of_bands_and_of_time_in_training_only():
    torch.manual_seed(0)
    masks, spectrograms = Masks(0.3), torch.randn(200, 20, 50)
    assert torch.equal(masks.eval()(spectrograms), spectrograms)
    masks.train()
    torch.manual_seed(1)
    hidden = (masks(spectrograms) != spectrograms).int()
    torch.manual_seed(1)
    assert torch.equal((masks(spectrograms) != spectrograms).int(), hidden)
    bands, times = hidden.amin(2), hidden.amin(1)  # [200, 20] and [200, 50]
    for stretch, most in ((bands, 6), (times, 15)):
        assert stretch.sum(1).max() == most  # the largest share is reached, and no more
        assert stretch.sum(1).min() == 0
        assert (stretch.diff(dim=1) == 1).sum(1).max() <= 1  # in one piece
        assert len(stretch.unique(dim=0)) > 20  # each item's own
    assert (hidden == (bands[:, :, None] | times[:, None])).all()
