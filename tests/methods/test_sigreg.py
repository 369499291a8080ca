"""SIGReg against numerical integration, and LeVJEPA, which trains with it."""

import math

import pytest
import torch
from made import clips_of
from scipy.integrate import quad
from torch import nn

from avssl.encoders import R3D, ViT
from avssl.media import VideoInfo
from avssl.methods import LeVJEPA, sigreg
from avssl.methods.temporal.levjepa import SameClip, resized_crops


def test_the_statistic_is_the_integral_of_epps_and_pulley():
    samples = torch.randn(40, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 0.3, 2.0]) + 0.2

    def integral(column):
        def integrand(t):
            real, imaginary = (t * column).cos().mean().item(), (t * column).sin().mean().item()
            weight = math.exp(-(t**2) / 2)
            return ((real - weight) ** 2 + imaginary**2) * weight

        return len(column) * quad(integrand, -sigreg.REACH, sigreg.REACH)[0]

    exact = torch.tensor([integral(column) for column in samples.T.double()]).double()
    torch.testing.assert_close(sigreg.epps_pulley(samples).double(), exact, rtol=5e-3, atol=0)  # 17 knots, as LeJEPA
    torch.testing.assert_close(sigreg.epps_pulley(samples, knots=513).double(), exact, rtol=2e-5, atol=0)


def test_gaussian_vectors_score_lowest_and_collapsed_ones_high():
    torch.manual_seed(0)
    gaussian = torch.randn(256, 8)
    flat = gaussian * (torch.arange(8) < 4)  # half of the directions have no variance
    others = {
        "small": 0.5 * gaussian,
        "large": 2 * gaussian,
        "shifted": gaussian + 0.5,
        "flat": flat,
        "two points": gaussian.sign()[:, :1].expand(-1, 8),
        "collapsed": torch.zeros(256, 8),
    }
    least = sigreg.sigreg(gaussian, directions=128)
    scores = {name: sigreg.sigreg(vectors, directions=128) for name, vectors in others.items()}
    assert min(scores.values()) > 5 * least, scores
    assert max(scores, key=scores.get) == "collapsed"
    # the expectation for a Gaussian is ∫ (1 - exp(-t^2)) exp(-t^2 / 2) dt, for any number of vectors
    expected = quad(lambda t: (1 - math.exp(-(t**2))) * math.exp(-(t**2) / 2), -sigreg.REACH, sigreg.REACH)[0]
    several = sigreg.sigreg(torch.randn(200, 16, 8), directions=64)  # 200 views of 16 vectors
    assert several.item() == pytest.approx(expected, rel=0.05)


def test_descent_spreads_collapsed_vectors():
    torch.manual_seed(0)
    vectors = (0.1 * torch.randn(64, 4)).requires_grad_()
    optimizer = torch.optim.Adam([vectors], 0.05)
    for _ in range(100):
        optimizer.zero_grad()
        sigreg.sigreg(vectors, directions=64).backward()
        optimizer.step()
    torch.testing.assert_close(vectors.detach().T.cov(), torch.eye(4), atol=0.25, rtol=0)
    assert vectors.mean(0).abs().max() < 0.15


def test_vectors_of_two_processes_count_as_one_batch(monkeypatch):
    torch.manual_seed(0)
    whole = torch.randn(3, 12, 5)  # three views
    halves = whole[:, :6], whole[:, 6:]
    torch.manual_seed(1)
    expected = sigreg.sigreg(whole, directions=32)
    kept = []
    monkeypatch.setattr(sigreg, "gather", lambda rows: kept.append(rows) or (rows, 0))
    torch.manual_seed(1)
    sigreg.sigreg(halves[1], directions=32)
    directions, theirs = kept
    calls = iter((directions, theirs))
    monkeypatch.setattr(sigreg, "gather", lambda rows: (torch.cat([rows, next(calls)]), 0))
    torch.manual_seed(1)
    torch.testing.assert_close(sigreg.sigreg(halves[0], directions=32), expected)


def test_all_views_show_the_same_seconds():
    info = VideoInfo("x.mp4", 9.0, 25.0, (8, 8))
    times = SameClip(4, 6, 0.25)(info, torch.Generator().manual_seed(0)).times
    assert times.shape == (4, 6)
    assert torch.equal(times, times[:1].expand(4, -1))
    torch.testing.assert_close(times.diff(dim=1), torch.full((4, 5), 0.25).double())
    with pytest.raises(ValueError, match="clips is 1"):
        SameClip(1)


def test_a_local_view_is_a_part_of_the_picture_and_all_its_frames_alike():
    torch.manual_seed(0)
    side = torch.linspace(0, 1, 64)
    picture = torch.stack([side.expand(64, -1), side[:, None].expand(-1, 64), torch.zeros(64, 64)])
    crops = resized_crops(picture.expand(100, 2, 2, -1, -1, -1), 16, (0.04, 0.36)).flatten(0, 1)
    assert crops.shape == (200, 2, 3, 16, 16)
    assert torch.equal(crops[:, 0], crops[:, 1])
    steps = crops[:, 0, 0, :, 1:-1].diff(dim=2).mean((1, 2)), crops[:, 0, 1, 1:-1].diff(dim=1).mean((1, 2))
    width, height = (63 / 64 * 16 * step for step in steps)  # of the crop, of 1; a pixel is 1/63 of a ramp
    area = width * height
    assert 0.035 < area.min() < 0.06
    assert 0.33 < area.max() < 0.38
    assert 0.7 < (width / height).min() < (width / height).max() < 1.4
    assert crops.amin() >= 0
    assert crops.amax() <= 1
    assert len(crops[:, 0, 0, 0, 0].unique()) > 190  # each clip has its own crop
    whole = torch.rand(2, 1, 3, 3, 8, 8)
    torch.testing.assert_close(resized_crops(whole, 8, (1.0, 1.0))[..., 4, 4], whole[..., 4, 4], atol=0.3, rtol=0)


def test_training_shows_some_tokens_and_evaluation_all_of_them(monkeypatch):
    method = LeVJEPA(ViT(16, 1, 8, 2), SameClip(3, 4), hidden=16, out=8, dropped=0.75, local_size=16)
    seen = []
    embed = method.encoder.embed.forward
    monkeypatch.setattr(method.encoder.embed, "forward", lambda rows: seen.append(rows.shape[:2]) or embed(rows))
    clips = clips_of(2, 3, 4)  # 2 x 4 x 4 tokens each, local views 2 x 2 x 2
    method(clips)
    method.eval()(clips)
    assert [tuple(shape) for shape in seen] == [(2, 8), (4, 2), (2, 32), (4, 8)]


def test_levjepa_that_has_collapsed_is_at_chance_and_pays_for_it():
    torch.manual_seed(0)
    method = LeVJEPA(R3D(8), SameClip(3, 4), hidden=16, out=8, local_size=16, directions=64)
    clips = clips_of(4, 3, 4)
    before = method(clips)
    nn.init.zeros_(method.head[-1].weight)
    after = method(clips)
    assert after["identified"].tolist() == [0.5] * 4
    bias = method.head[-1].bias.detach()  # the views agree, so what is left is the regulariser's
    torch.manual_seed(0)
    alone = sigreg.sigreg(bias.expand(3, 4, -1), directions=4096)
    assert after["loss"].item() == pytest.approx(0.02 * alone.item(), rel=0.2)
    assert before["loss"] != after["loss"]
