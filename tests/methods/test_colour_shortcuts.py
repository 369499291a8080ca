"""What colours and brightness tell of a place, and what is done against it."""

import numpy as np
import torch
from made import numbered
from torch.nn import functional as F

from avssl.encoders import ResNet
from avssl.methods import ContextPrediction
from avssl.methods.disguise import drop_colours, project_colours, shift_channels
from avssl.methods.frame.context_prediction import CENTRE
from avssl.methods.frame.patches import cut_puzzle, cut_tiles, standardise_channels
from avssl.pixels import MEAN, STD
from avssl.studies import colours

AROUND = [0, 1, 2, 3, 5, 6, 7, 8]  # the patches around the middle one


def test_shortcut_a_picture_that_darkens_towards_one_corner():
    torch.manual_seed(0)
    ramp = torch.linspace(-1, 1, 96)
    pictures = (3 * ramp[:, None] + ramp).expand(50, 3, -1, -1) + 0.1 * torch.randn(50, 3, 96, 96)
    brightness = cut_tiles(pictures, 3, 0.85, 0.15).mean((2, 3, 4))  # [50, 9]
    assert torch.equal(brightness.argsort(1), torch.arange(9).expand(50, 9))
    seen = cut_puzzle(pictures, 3, 0.85, 0)
    assert seen.mean((3, 4)).abs().max() < 1e-4
    assert (seen.std((3, 4)) - 1).abs().max() < 0.1
    assert standardise_channels(torch.ones(1, 3, 4, 4)).abs().max() == 0


def through_a_lens(count, size, spread):
    """``[M, 3, size, size]`` pictures in [0, 1] whose red and blue are larger than the green by a share ``spread``."""
    coarse = torch.rand(count, 1, size // 6, size // 6)
    at = torch.linspace(-1, 1, size)
    grid = torch.stack([at.expand(size, size), at[:, None].expand(size, size)], 2)[None].expand(count, -1, -1, -1)
    grey = F.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=True)
    channels = [F.grid_sample(grey, grid * (1 - part), align_corners=True) for part in (spread, 0, spread)]
    return torch.cat(channels, 1)


def shifts(patches):
    """``[..., 3, h, w]`` to ``[..., 2]``: how many pixels (y, x) green is off red and blue (Lucas & Kanade, 1981)."""
    green = patches[..., 1, :, :]
    across = green[..., 1:-1, 2:] - green[..., 1:-1, :-2]
    down = green[..., 2:, 1:-1] - green[..., :-2, 1:-1]
    slopes = torch.stack([down, across], -1).flatten(-3, -2) / 2  # [..., P, 2]
    off = (green - patches[..., [0, 2], :, :].mean(-3))[..., 1:-1, 1:-1].flatten(-2)[..., None]  # [..., P, 1]
    slopes, off = slopes - slopes.mean(-2, keepdim=True), off - off.mean(-2, keepdim=True)
    square = slopes.transpose(-1, -2) @ slopes + 1e-9 * torch.eye(2)
    return torch.linalg.solve(square, slopes.transpose(-1, -2) @ off)[..., 0]


def side_by_fringes(patches):
    """How often the fringes say on which side of the middle patch another one lies."""
    patches = patches * torch.tensor(STD).view(3, 1, 1)
    apart = shifts(patches[:, AROUND]) - shifts(patches[:, CENTRE, None])  # [M, 8, 2]
    places = torch.cartesian_prod(torch.arange(-1.0, 2), torch.arange(-1.0, 2))[AROUND]  # [8, 2]
    answer = (F.normalize(apart, dim=2) @ F.normalize(places, dim=1).T).argmax(2)
    return (answer == torch.arange(8)).double().mean().item()


def test_shortcut_fringes_of_a_lens_tell_where_a_patch_lies():
    torch.manual_seed(0)
    rgb = through_a_lens(60, 144, 0.008)  # green off by 0.4 pixels at the middle of the outer patches
    pictures = (rgb - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)

    def found(colours):
        method = ContextPrediction(ResNet(18, 8), colours=colours, width=8, hidden=8)
        patches = method.patches(pictures, torch.tensor(STD))
        return side_by_fringes(patches + 1e-4 * torch.randn_like(patches))  # no camera is exact to the last bit

    assert found("keep") > 0.9
    assert abs(found("dropping") - 1 / 8) < 0.06
    assert abs(found("projection") - 1 / 8) < 0.06


def test_shortcut_fringes_are_lost_among_shifted_channels():
    torch.manual_seed(0)
    pictures = through_a_lens(60, 225, 0.008)
    places = torch.cartesian_prod(torch.arange(-1.0, 2), torch.arange(-1.0, 2))  # [9, 2]

    def found(shift):
        moved = shifts(cut_puzzle(pictures, 3, 64 / 75, shift)) / (75 * 0.008)
        return (torch.cdist(moved, places).argmin(2) == torch.arange(9)).double().mean().item()

    assert found(0) > 0.9
    assert found(2) < 0.25  # chance is 1/9


def test_dropped_colours_are_noise_and_one_is_kept_as_it_was():
    torch.manual_seed(0)
    pictures = torch.randn(60, 3, 32, 32) * torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1)
    dropped = drop_colours(pictures)
    kept = (dropped == pictures).all(-1).all(-1)  # [60, 3]
    assert (kept.sum(1) == 1).all()
    assert kept.sum(0).min() > 8
    ratio = dropped.std((2, 3))[~kept].view(60, 2) / pictures.std((2, 3))[kept][:, None]
    torch.testing.assert_close(ratio, torch.full((60, 2), 0.01), atol=1e-3, rtol=0)


def test_projection_is_the_papers_matrix():
    a = np.array([[-1.0, 2.0, -1.0]])
    matrix = np.eye(3) - a.T @ a / (a @ a.T)
    pixels = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    expected = np.einsum("ij,bjhw->bihw", matrix, pixels.numpy())
    np.testing.assert_allclose(project_colours(pixels).numpy(), expected, atol=1e-12)
    grey = torch.rand(1, 1, 4, 4).expand(1, 3, 4, 4)
    torch.testing.assert_close(project_colours(grey), grey)


def test_shifted_channels_are_cut_each_at_a_place_of_its_own():
    torch.manual_seed(0)
    corner = shift_channels(numbered(10).expand(500, -1, -1, -1), 2)[:, :, 0, 0]  # [500, 3]
    assert set(corner.flatten().tolist()) == {10.0 * y + x for y in range(5) for x in range(5)}
    assert (corner[:, 0] == corner[:, 1]).double().mean() < 0.1


def test_shortcut_colours_of_a_room_tell_which_clips_are_of_one_video(shared_data):
    roots = [shared_data / "ut_interaction"]
    assert colours.cue_accuracies("simclr", roots, 1, colours.PLAIN)["histogram"].item() > 0.4  # chance is 1/63
    assert colours.cue_accuracies("simclr", roots, 1, [])["histogram"].item() < 0.2
