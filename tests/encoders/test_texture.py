import math

import pytest
import torch
from scipy.signal import hilbert

from avssl.encoders.texture import BANDS, SoundTexture

RATE = 16000
TIME = torch.arange(2 * RATE) / RATE
TEXTURE = SoundTexture(RATE)
MEANS, SPREADS, LOUDNESS, MODULATION, PAIRS = (slice(0, 32), slice(32, 64), 64, slice(65, 385), slice(385, 502))


def test_there_are_502_numbers_of_five_kinds_whatever_the_length():
    assert TEXTURE.num_features == sum(TEXTURE.groups) == 502
    for seconds in (0.5, 1.0, 2.0):
        statistics = TEXTURE(0.1 * torch.randn(2, round(seconds * RATE)))
        assert statistics.shape == (2, 502)
        assert statistics.isfinite().all()
    silent = TEXTURE(torch.zeros(1, RATE))
    assert not silent[:, :385].any()


def test_the_squares_of_the_bands_sum_to_the_power_and_envelopes_are_moduli_of_analytic_signals():
    tone = 0.5 * torch.sin(2 * math.pi * 1000 * TIME)
    envelopes = TEXTURE.envelopes(tone[None])[0].pow(1 / 0.3)  # [32, 800]
    assert envelopes.square().sum(0).mean().item() == pytest.approx(0.25, rel=1e-3)
    sound = 0.1 * torch.randn(2 * RATE, generator=torch.Generator().manual_seed(0))
    hertz = torch.arange(RATE + 1) / 2
    filters, _, _ = TEXTURE._filters(hertz, 2 * RATE)
    band = torch.fft.irfft(torch.fft.rfft(sound) * filters[20])
    modulus = torch.from_numpy(abs(hilbert(band.numpy()))) ** 0.3
    expected = modulus.view(800, 40).mean(1)
    error = (TEXTURE.envelopes(sound[None])[0, 20] - expected).abs()  # of means over a little other stretches
    assert error.mean() < 0.2 * expected.std()
    assert error.max() < 0.8 * expected.std()


def test_a_rhythm_shows_in_its_band_of_modulation_and_in_all_channels_at_once():
    noise = 0.1 * torch.randn(2 * RATE, generator=torch.Generator().manual_seed(0))
    beaten = noise * (1 + torch.sin(2 * math.pi * 7.2 * TIME))
    still, moving = TEXTURE(torch.stack([noise, beaten]))
    bands = moving[MODULATION].view(BANDS, 10).mean(0)
    assert bands.argmax().item() == 4  # 0.5 * 400 ** (4 / 9) = 7.2 Hz
    assert bands[4] > 4 * still[MODULATION].view(BANDS, 10).mean(0)[4]
    assert moving[PAIRS][-29:].mean() > 0.5 > 0.2 > still[PAIRS][-29:].mean()
    louder = TEXTURE(2 * noise[None])[0]
    assert torch.allclose(louder[LOUDNESS], still[LOUDNESS] * 2**0.3, rtol=1e-4)
    assert torch.allclose(louder[PAIRS], still[PAIRS], atol=1e-4)
