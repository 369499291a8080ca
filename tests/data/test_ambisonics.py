import math

import pytest
import torch

from avssl.data import ambisonics
from avssl.synthetic import SphereScene, SphereWorld

RATE = 16000


def encoded(sound, azimuth, elevation):
    """Ambisonics of a sound ``[S]`` from a direction, by hand."""
    flat = math.cos(elevation)
    gains = [1, math.sin(azimuth) * flat, math.sin(elevation), math.cos(azimuth) * flat]
    return torch.stack([gain * sound for gain in gains])


def test_intensity_points_to_the_source_and_is_as_long_as_the_power():
    sound = torch.randn(4000)
    spectrum = ambisonics.spectra(encoded(sound, 0.7, -0.3), RATE)
    flow = ambisonics.intensity(spectrum)  # [3, T]
    left, up, ahead = flow.mean(1).tolist()
    assert math.atan2(left, ahead) == pytest.approx(0.7, abs=1e-4)
    assert math.atan2(up, math.hypot(left, ahead)) == pytest.approx(-0.3, abs=1e-4)
    assert torch.allclose(flow.norm(dim=0), spectrum[0].abs().square().sum(0), rtol=1e-3)
    other = ambisonics.intensity(ambisonics.spectra(encoded(sound, 0.7 + math.pi, 0.3), RATE))
    assert torch.allclose(ambisonics.angles(flow, other), torch.full((flow.shape[1],), 180.0), atol=0.1)
    assert torch.allclose(ambisonics.angles(flow, 0 * other), torch.full((flow.shape[1],), 90.0))


def test_turning_pictures_and_sound_by_the_same_angle_is_turning_the_world():
    scene = SphereScene(SphereWorld(videos=4, height=32, seconds=2.0), 1)
    picture = torch.from_numpy(scene.frame(0.5)).permute(2, 0, 1)
    sound = torch.from_numpy(scene.sound())
    columns = torch.tensor([0, 5, 20])
    turned = ambisonics.turned(sound.expand(3, -1, -1), columns * 2 * math.pi / 64)
    assert torch.equal(ambisonics.rolled(picture.expand(3, -1, -1, -1), columns)[1], picture.roll(-5, 2))
    rays = ambisonics.rays(32, 64)  # what was in a column is now 5 further to the left, where this is the ray
    given = torch.cat([torch.zeros_like(rays[:1]), rays]).flatten(1)[None]
    moved = ambisonics.turned(given, columns[1:2] * 2 * math.pi / 64)[0, 1:]
    assert torch.allclose(moved, rays.roll(5, 2).flatten(1), atol=1e-5)
    assert torch.allclose(turned[0], sound, atol=1e-6)
    assert torch.allclose(turned.square().sum(1), sound.square().sum(0).expand(3, -1), atol=1e-4)


def test_spectra_are_inverted_but_at_the_very_ends():
    sound = torch.randn(2, 3, 7990)
    again = ambisonics.samples(ambisonics.spectra(sound, RATE), 7990, RATE)
    assert torch.allclose(again[..., 200:7700], sound[..., 200:7700], atol=1e-4)


def test_errors_are_one_for_silence_and_nought_for_the_truth():
    true = torch.randn(2, 3, 5000)
    spectrum = ambisonics.spectra(true, RATE)
    for error, right, nothing in [
        (ambisonics.stft_error, spectrum, 0 * spectrum),
        (ambisonics.envelope_error, true, 0 * true),
    ]:
        assert torch.allclose(error(right, right), torch.zeros(2), atol=1e-6)
        assert torch.allclose(error(nothing, right), torch.ones(2), atol=1e-6)
    tone = torch.sin(torch.arange(4000) * 0.5)
    assert ambisonics.envelope_error(tone.roll(3).expand(3, -1), tone.expand(3, -1)) < 0.01  # phases don't matter


def test_energy_is_largest_in_the_direction_of_the_source():
    ways = ambisonics.spread(200)
    assert torch.allclose(ways.norm(dim=1), torch.ones(200), atol=1e-5)
    assert ways.mean(0).norm() < 0.01
    share = ambisonics.energies(ambisonics.spectra(encoded(torch.randn(3000), 2.0, 0.5), RATE), ways)
    left, up, ahead = ways[share.argmax()].tolist()
    assert abs(math.atan2(left, ahead) - 2.0) < 0.25
    assert abs(math.asin(up) - 0.5) < 0.2
    assert share.sum() == pytest.approx(1.0, abs=1e-4)
