"""Image tasks about geometry: counting, ranking, AET."""

import cv2
import numpy as np
import pytest
import torch
from made import of
from torch.nn import functional as F

from avssl.encoders import ResNet
from avssl.methods import (
    AET,
    Counting,
    Ranking,
)
from avssl.methods.frame.aet import homographies, parameter_error, random_affine, random_projective, warp
from avssl.methods.frame.counting import STYLES, halve, quarters
from avssl.methods.frame.ranking import distort, nested_crops, score_margins


def test_counting_loss_is_equation_4_of_the_paper():
    torch.manual_seed(0)
    method = Counting(ResNet(18, 8), counts=5, hidden=8, margin=3.0)
    whole, tiles = torch.rand(6, 5), torch.rand(6, 5)  # three videos of two frames
    method.count_whole_and_tiles = lambda pictures: (whole, tiles)
    expected = 0.0
    for i in range(6):
        same = ((whole[i] - tiles[i]) ** 2).sum().item()
        other = ((whole[(i + 2) % 6] - tiles[i]) ** 2).sum().item()
        expected += (same + max(0.0, 3 - other)) / 6
    clips = of(torch.rand(6, 3, 8, 8), 1, 2)
    assert method(clips)["loss"].item() == pytest.approx(expected, rel=1e-5)
    whole = torch.eye(6)[[1, 0, 3, 2, 5, 4]]
    tiles = torch.eye(6)  # each as the other frame of its video
    out = method(clips)["identified"]
    assert out.tolist() == pytest.approx([(2 + 0.5) / 3] * 3)  # equal to its own counts as half


def blobs(picture):
    return cv2.connectedComponents((picture.mean(0) > 0.5).numpy().astype(np.uint8))[0] - 1


def test_counts_of_tiles_add_up_and_histograms_do_not():
    picture = torch.zeros(1, 3, 64, 64)
    for row, column in ((4, 4), (4, 20), (20, 8), (8, 40), (40, 12), (50, 50), (40, 40)):
        picture[..., row : row + 6, column : column + 6] = 1
    for style in STYLES:
        assert blobs(halve(picture, style[None])[0]) == sum(map(blobs, quarters(picture)[0])) == 7
    colour = picture.mean((2, 3))
    small = halve(picture, STYLES[:1]).mean((2, 3))
    assert torch.allclose(small, colour)
    assert torch.allclose(quarters(picture).mean((3, 4)).sum(1), 4 * colour)  # it had to know that these are tiles


def test_shortcut_the_way_of_scaling_is_no_sign_of_a_scaled_picture():
    """With one style, sharpness would tell tiles from scaled pictures; with several, it is not the same twice."""
    torch.manual_seed(0)
    noise = torch.randn(8, 3, 64, 64)
    made = [halve(noise, style.expand(8, -1)) for style in STYLES]
    assert torch.allclose(made[0], F.avg_pool2d(noise, 2), atol=1e-5)
    assert torch.allclose(
        made[0], F.interpolate(noise, scale_factor=0.5, mode="bilinear"), atol=1e-5
    )  # one and the same
    bicubic = F.interpolate(noise, scale_factor=0.5, mode="bicubic")
    assert torch.allclose(made[2][..., 2:-2, 2:-2], bicubic[..., 2:-2, 2:-2], atol=1e-4)
    sharpness = [part.std().item() for part in made]
    assert max(sharpness) > 1.8 * min(sharpness)
    flat = torch.full((4, 3, 10, 10), 0.3)
    assert torch.allclose(halve(flat, STYLES), flat[..., ::2, ::2], atol=1e-6)


def test_the_ranking_loss_is_that_of_all_pairs_and_so_is_its_gradient():
    torch.manual_seed(0)
    method = Ranking(ResNet(18, 8), margin=0.7, levels=4)
    scores = torch.randn(3, 4, requires_grad=True)
    method._scores = lambda versions: scores
    out = method(of(torch.rand(3, 3, 32, 32)))
    out["loss"].backward()
    cost, right, gradient = 0.0, 0, torch.zeros(3, 4)
    for row in range(3):
        for i in range(4):
            for j in range(i + 1, 4):
                lacking = 0.7 - (scores[row, i] - scores[row, j]).item()
                right += scores[row, i].item() > scores[row, j].item()
                if lacking > 0:
                    cost += lacking / 18
                    gradient[row, i] -= 1 / 18
                    gradient[row, j] += 1 / 18
    assert out["loss"].item() == pytest.approx(cost, rel=1e-5)
    assert out["ordered"].mean().item() == pytest.approx(right / 18)
    assert torch.allclose(scores.grad, gradient, atol=1e-6)
    assert score_margins(torch.zeros(1, 5)).shape == (1, 10)


def test_crops_are_nested_and_made_of_different_pixels():
    torch.manual_seed(0)
    rows, columns = torch.meshgrid(torch.arange(60.0), torch.arange(60.0), indexing="ij")
    places = torch.stack([rows, columns]).expand(20, -1, -1, -1)
    crops = nested_crops(places, 4, 0.75).flatten(3)  # [20, 4, 2, s s]
    low, high = crops.amin(3), crops.amax(3)
    assert (low.diff(dim=1) >= -1).all() and (high.diff(dim=1) <= 1).all()  # noqa: PT018
    assert ((high - low)[:, 0] > 2 * (high - low)[:, 3]).all()
    assert all(len(torch.unique(crop, dim=1).T) == crop.shape[1] for crop in crops.flatten(0, 1))


def test_shortcut_resampling_does_not_tell_how_large_a_crop_was():
    torch.manual_seed(0)
    noise = torch.randn(40, 1, 64, 64)
    crops = nested_crops(noise, 4, 0.75)
    roughness = crops.diff(dim=-1).abs().mean((0, 2, 3, 4))
    assert roughness.max() < 1.03 * roughness.min()
    sides = [round(56 * 0.75**level) for level in range(4)]
    resized = [
        F.interpolate(noise[..., :side, :side], size=(24, 24), mode="bilinear", antialias=True) for side in sides
    ]
    smoothed = [part.diff(dim=-1).abs().mean() for part in resized]
    assert max(smoothed) > 1.5 * min(smoothed)  # interpolated crops would tell


def test_distortions_grow():
    torch.manual_seed(0)
    pictures = F.interpolate(torch.rand(40, 3, 8, 8), size=(32, 32), mode="bilinear")
    versions = distort(pictures, 4)
    assert torch.equal(versions[:, 0], pictures)
    error = (versions - pictures[:, None]).square().mean((2, 3, 4))
    assert (error.diff(dim=1) > 0).float().mean() > 0.95


def test_warps_are_what_their_matrices_say():
    torch.manual_seed(0)
    picture = torch.rand(1, 3, 16, 16)
    matrix = torch.eye(3)[None].clone()
    assert torch.allclose(warp(picture, matrix), picture, atol=1e-5)
    matrix[0, 0, 2] = 4 / 8  # four pixels of a side that is 2 long
    assert torch.allclose(warp(picture, matrix)[..., :12], picture[..., 4:], atol=1e-5)
    assert parameter_error(matrix.flatten(1), torch.eye(3).flatten()[None]).item() == pytest.approx(0.5 * 0.5**2)
    quarter = torch.tensor([[[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]])
    assert torch.allclose(warp(picture, quarter), picture.rot90(1, (-2, -1)), atol=1e-4)
    matrix[0, 2, 0] = 0.1
    squashed = warp(picture, matrix, "zeros")
    x, y = 0.25, -0.125  # by hand: the pixel at column 9.5, row 6.5 of 16
    source = np.array([x + 0.5, y]) / (1 + 0.1 * x)
    rows, columns = (source[1] + 1) * 8 - 0.5, (source[0] + 1) * 8 - 0.5
    grid = torch.tensor([[[[(columns + 0.5) / 8 - 1, (rows + 0.5) / 8 - 1]]]]).float()
    centre = torch.tensor([[[[x, y]]]]).float()
    by_hand = F.grid_sample(picture, grid, align_corners=False)
    assert torch.allclose(F.grid_sample(squashed, centre, align_corners=False), by_hand, atol=0.15)


def test_homographies_take_corners_where_they_should_go():
    torch.manual_seed(0)
    places = torch.tensor([[-1.0, -1], [1, -1], [1, 1], [-1, 1]]).expand(5, -1, -1)
    others = places + 0.4 * torch.rand(5, 4, 2)
    x, y, depth = (homographies(places, others) @ F.pad(places, (0, 1), value=1.0).mT).unbind(1)
    assert torch.allclose(torch.stack([x / depth, y / depth], 2), others, atol=1e-4)
    for matrices in (random_affine(200, torch.device("cpu")), random_projective(200, torch.device("cpu"))):
        area = torch.linalg.det(matrices[:, :2, :2])
        assert (area > 0).all()  # never mirrored
        assert (matrices[:, 2, 2] == 1).all()
    scale = torch.linalg.det(random_affine(500, torch.device("cpu"))[:, :2, :2]).sqrt()
    assert 0.7 <= scale.min() < 0.75 and 1.25 < scale.max() <= 1.3  # noqa: PT018


def test_a_perfect_prediction_of_the_warp_has_no_error_and_is_identified():
    torch.manual_seed(0)
    for family, count in (("affine", 6), ("projective", 8)):
        method = AET(ResNet(18, 8), family=family, hidden=8)
        matrices = method.draw_matrices(torch.rand(4, 3, 16, 16))
        method.draw_matrices = lambda pictures, matrices=matrices: matrices
        method._decode = lambda *_, method=method, matrices=matrices: method.free_entries(matrices)
        assert method.free_entries(matrices).shape == (4, count)
        out = method(of(torch.rand(4, 3, 16, 16)))
        assert out["loss"].item() == 0
        assert (out["identified"] > 0.8).all()


@pytest.mark.parametrize(("padding", "tells"), [("reflection", False), ("zeros", True)])
def test_shortcut_the_border_of_a_warped_picture(padding, tells):
    blank = torch.full((50, 3, 32, 32), 0.8)
    torch.manual_seed(0)
    seen = warp(blank, random_projective(50, blank.device), padding)
    assert ((seen - 0.8).abs().max() > 0.1) == tells  # nothing is in the picture, and yet the outline tells the warp
