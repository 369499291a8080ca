"""Context of frames: the formulas of the papers, how patches are cut, and trivial cues that do not give them away."""

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from made import numbered
from scipy.optimize import linear_sum_assignment
from torch import nn

from avssl.clips import Clips
from avssl.encoders import ResNet
from avssl.methods import ContextPrediction, DeepPermNet, ImageCPC, Jigsaw, Selfie
from avssl.methods.frame.deep_perm_net import sinkhorn, solve_assignment, subset_table
from avssl.methods.frame.image_cpc import RowContext
from avssl.methods.frame.jigsaw import distant_permutations
from avssl.methods.frame.patches import cut_tiles, cut_windows, mosaic, reorder
from avssl.training.config import parse

CONFIGS = Path(__file__).parents[2] / "configs"


def method_of(name):
    made, config = parse([str(CONFIGS / f"{name}.yaml")])
    return made.instantiate(config)


def cpc(version):
    """CPC or CPC v2 at the paper's grid, its patches not changed."""
    second = {"grid": 6, "overlap": 2.5, "predict": 3, "directions": 4} if version == 2 else {}
    return ImageCPC(ResNet(18, 8), width=8, depth=1, crop=1.0, **second)


def test_a_tile_is_a_whole_piece_of_its_cell_and_lies_everywhere_in_it():
    torch.manual_seed(0)
    cut = cut_tiles(numbered(30).expand(300, -1, -1, -1), 3, 0.7, 0.3)  # cells of 10 pixels, tiles of 7
    assert cut.shape == (300, 9, 3, 7, 7)
    top, left = cut[:, :, 0, 0, 0] // 30, cut[:, :, 0, 0, 0] % 30  # [300, 9]
    whole = cut[..., :1, :1] + 30 * torch.arange(7.0)[:, None] + torch.arange(7.0)
    assert torch.equal(cut, whole)
    for place in range(9):
        offsets = {(int(y), int(x)) for y, x in zip(top[:, place], left[:, place], strict=True)}
        row, column = 10 * (place // 3), 10 * (place % 3)
        assert offsets == {(row + y, column + x) for y in range(4) for x in range(4)}


def test_jitter_is_about_the_middle_of_the_cell():
    torch.manual_seed(0)
    cut = cut_tiles(
        numbered(144).expand(400, -1, -1, -1), 1, 96 / 144, 14 / 144
    )  # as Doersch et al.: 96 pixels, 7 each way
    left = cut[:, 0, 0, 0, 0] % 144
    assert (left.min(), left.max()) == (24 - 7, 24 + 7)


@pytest.mark.parametrize(("version", "size", "grid", "patch"), [(1, 256, 7, 64), (2, 240, 6, 80)])
def test_cpc_cuts_the_grids_of_both_papers(version, size, grid, patch):
    method = cpc(version)
    cut = method.patches(numbered(size))
    assert cut.shape == (1, grid, grid, 3, patch, patch)
    assert torch.equal(cut, cut_windows(numbered(size), grid, (patch, patch), (32, 32)))
    assert cut[0, 2, 3, 0, 0, 0] == 2 * 32 * size + 3 * 32
    assert cut[0, -1, -1, 0, -1, -1] == size**2 - 1


def test_a_mosaic_of_the_cells_is_the_picture():
    picture = torch.rand(2, 3, 12, 12)
    assert torch.equal(mosaic(cut_tiles(picture, 3, 1.0, 0.0))[:, 0], picture)


def test_permutations_are_chosen_greedily_by_hamming_distance():
    every = list(permutations(range(4)))

    def distances(one, chosen):
        return [sum(a != b for a, b in zip(one, other, strict=True)) for other in chosen]

    chosen = [every[0]]
    while len(chosen) < 12:
        left = [one for one in every if one not in chosen]
        chosen.append(max(left, key=lambda one: (sum(distances(one, chosen)), min(distances(one, chosen)))))
    assert distant_permutations(4, 12).tolist() == [list(one) for one in chosen]
    assert sorted(distant_permutations(4, 24).tolist()) == [list(one) for one in every]


def test_permutations_of_nine_tiles_are_as_far_apart_as_the_papers():
    orders = distant_permutations(9, 100)
    assert torch.equal(orders.sort(1).values, torch.arange(9).expand(100, 9))
    distance = (orders[:, None] != orders).sum(2)[~torch.eye(100, dtype=torch.bool)].double()
    assert distance.mean() > 8.07  # table 5: 8.08 for 100; 8 for any drawn at random
    assert distance.min() >= 2
    first = (orders[:9, None] != orders[:9]).sum(2)
    assert torch.equal(first, 9 * (1 - torch.eye(9, dtype=torch.long)))  # nine can differ everywhere


def test_more_permutations_than_there_are_is_an_error():
    with pytest.raises(ValueError, match="6 permutations of 3 items, 7 were asked for"):
        distant_permutations(3, 7)


class Place(nn.Module):
    """Reads a tile's place off its pixels."""

    num_features = 1

    def forward(self, clips):
        return clips.mean((1, 2, 3, 4))[:, None]


class PlacesToOrder(nn.Module):
    """Scores the orders (of a jigsaw), or each place for each tile, from the places of the tiles as they are shown."""

    def __init__(self, orders=None):
        super().__init__()
        self.orders, self.part = orders, nn.Identity()

    def forward(self, parts):  # [M, K, 9, 1]
        if self.orders is not None:
            return -(parts[:, :, None, :, 0] - self.orders).abs().sum(3)
        return -(parts - torch.arange(9)).abs().flatten(2)


@pytest.mark.parametrize("make", [Jigsaw, DeepPermNet])
def test_a_network_that_knows_each_tiles_place_solves_every_puzzle(make):
    tiles = torch.arange(9.0).view(1, 9, 1, 1, 1).expand(5, 9, 3, 4, 4)
    method = make(Place(), width=8, hidden=8, **({"permutations": 30} if make is Jigsaw else {}))
    method.head = PlacesToOrder(getattr(method, "orders", None))
    target, scores = method._predict(tiles, 6)
    if make is Jigsaw:
        assert torch.equal(scores.argmax(2), target)
        order, answer = method.orders[target], method.orders[scores.argmax(2)]
    else:
        order, answer = target, solve_assignment(scores, method.subsets)
        assert torch.equal(answer, order)
    shown = reorder(tiles, order)[:, 0]
    assert not torch.equal(shown, tiles)
    assert torch.equal(reorder(shown, answer.argsort(2))[:, 0], tiles)


def test_sinkhorn_is_the_normalisation_of_rows_and_columns_in_turns():
    scores = torch.randn(3, 5, 5, dtype=torch.float64)
    matrix = np.exp(scores.numpy())
    for _ in range(4):
        matrix = matrix / matrix.sum(2, keepdims=True)
        matrix = matrix / matrix.sum(1, keepdims=True)
    np.testing.assert_allclose(sinkhorn(scores, 4).exp().numpy(), matrix)


def test_sinkhorn_gives_a_doubly_stochastic_matrix_whatever_is_added_to_rows_and_columns():
    torch.manual_seed(0)
    scores = 3 * torch.randn(4, 9, 9)
    found = sinkhorn(scores, 200)
    for axis in (1, 2):
        torch.testing.assert_close(found.exp().sum(axis), torch.ones(4, 9), atol=1e-3, rtol=0)
    moved = scores + 5 * torch.randn(4, 9, 1) + 5 * torch.randn(4, 1, 9)
    torch.testing.assert_close(sinkhorn(moved, 200).exp(), found.exp(), atol=5e-3, rtol=0)
    assert not torch.allclose(sinkhorn(scores, 1).exp().sum(2), torch.ones(4, 9), atol=0.05)


def test_the_assignment_is_the_best_of_all_permutations():
    torch.manual_seed(0)
    scores = torch.randn(20, 2, 4, 4)
    every = torch.tensor(list(permutations(range(4))))  # [24, 4]
    total = scores[:, :, torch.arange(4), every].sum(3)  # [20, 2, 24]
    found = solve_assignment(scores, subset_table(4))
    assert torch.equal(found, every[total.argmax(2)])
    assert not torch.equal(scores.argmax(3), found)
    nine = torch.randn(12, 9, 9)
    expected = [linear_sum_assignment(matrix, maximize=True)[1].tolist() for matrix in nine.numpy()]
    assert solve_assignment(nine, subset_table(9)).tolist() == expected
    with pytest.raises(ValueError, match=r"method\.grid is at most 4"):
        subset_table(25)


def test_a_context_sees_no_row_below_its_own():
    torch.manual_seed(0)
    rows = torch.rand(1, 8, 6, 6, requires_grad=True)
    RowContext(8, 8, 5)(rows)[0, :, 3].sum().backward()
    seen = rows.grad.abs().sum((0, 1, 3))  # [6]
    assert (seen[:4] > 0).all()
    assert (seen[4:] == 0).all()


def test_what_lies_below_after_four_turns_are_the_four_neighbours():
    places = torch.cartesian_prod(torch.arange(5), torch.arange(5)).view(1, 5, 5, 2)
    ways = {tuple((t[0, 3, 2] - t[0, 2, 2]).tolist()) for t in (places.rot90(k, (1, 2)) for k in range(4))}
    assert ways == {(1, 0), (-1, 0), (0, 1), (0, -1)}


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("size", [32, 96, 240])
def test_shortcut_patches_that_show_the_same_pixels(version, size):
    """Each pixel says its number: a row that is asked for shows none of the context's, the one before it does."""
    method = cpc(version)
    rows = [set(row[:, 0].flatten().tolist()) for row in method.patches(numbered(size))[0]]
    for row in range(method.grid - method.first):
        assert not any(rows[row] & later for later in rows[row + method.first :])
        assert rows[row] & rows[row + method.first - 1]


@pytest.mark.parametrize(("norm", "alone"), [("layer", True), ("batch", False)])
def test_shortcut_patches_that_know_of_each_other_by_batch_statistics(norm, alone):
    torch.manual_seed(0)
    encoder, patches = ResNet(18, 8, norm).train(), torch.rand(6, 1, 3, 32, 32)
    assert torch.allclose(encoder(patches)[:3], encoder(patches[:3]), atol=1e-4) == alone


def test_rows_beyond_the_grid_are_an_error():
    with pytest.raises(ValueError, match="predict must be 1 to 3, got 5"):
        ImageCPC(ResNet(18, 8), grid=6, overlap=2.5)


def test_a_masked_patch_is_a_candidate_and_nothing_else():
    torch.manual_seed(0)
    method = Selfie(ResNet(18, 8), grid=4, width=16, depth=1).eval()
    patches = torch.rand(2, 16, 3, 8, 8)

    def scores(patches):
        torch.manual_seed(1)
        return method._predict(patches)

    masked, before = scores(patches)
    assert before.shape == (2, 4, 4)
    changed = patches.clone()
    changed[torch.arange(2), masked[:, 1]] = 0
    after = scores(changed)[1]
    others = [0, 2, 3]
    assert torch.equal(after[:, :, others], before[:, :, others])
    assert not torch.isclose(after[:, :, 1], before[:, :, 1]).any()
    changed = patches.clone()
    seen = next(place for place in range(16) if place not in masked[0])
    changed[0, seen] = 0
    assert not torch.isclose(scores(changed)[1][0], before[0]).any()


def test_what_is_seen_says_which_of_two_masked_patches_belongs_where():
    """Of a plain sum of u and the place, the first minus the second patch scores the same more at every place."""
    torch.manual_seed(0)
    method = Selfie(ResNet(18, 8), grid=4, width=16, depth=1).eval()
    patches = torch.rand(1, 16, 3, 8, 8)
    other = patches.clone()
    torch.manual_seed(1)
    masked, first = method._predict(patches)
    seen = [place for place in range(16) if place not in masked[0]]
    other[:, seen] = torch.rand(1, 12, 3, 8, 8)
    torch.manual_seed(1)
    change = (method._predict(other)[1] - first)[0]  # [place, patch]
    swapped = change[0, 0] - change[0, 1] - change[1, 0] + change[1, 1]
    assert swapped.abs() > 1e-6


def most_frequent(cut):
    """``[M, g * g, ...]`` tiles whose pixels say their column: how often the commonest step to the next one occurs."""
    grid = round(cut.shape[1] ** 0.5)
    pixels = cut[:, :, 0, 0].unflatten(1, (grid, grid))
    step = pixels[:, :, 1:, 0] - pixels[:, :, :-1, -1]  # from the last column to the first one of the next tile
    return step.flatten().long().add(100).bincount().max().item() / step.numel()


def test_shortcut_lines_that_go_on_from_patch_to_patch():
    torch.manual_seed(0)
    column = torch.arange(96.0).expand(200, 3, 96, 96)
    assert most_frequent(cut_tiles(column, 3, 1.0, 0.0)) == 1
    assert most_frequent(cut_tiles(column, 3, 2 / 3, 0.0)) == 1  # a gap alone does not help: its width is known
    context = method_of("context_prediction").method
    context.colours = "keep"
    assert most_frequent(context.patches(column)) < 0.35
    assert most_frequent(cut_tiles(column, 3, method_of("jigsaw").method.tile, 0.2)) < 0.25
    selfie = method_of("selfie").method
    assert most_frequent(cut_tiles(column, selfie.grid, selfie.patch, 1 - selfie.patch)) < 0.25


def test_shortcut_a_frame_squashed_in_one_direction_tells_its_turn():
    height, width = method_of("rotnet").data.transform.decode_size((240, 426))
    assert abs(height / 240 - width / 426) < 0.01


def test_every_frame_of_every_clip_is_a_picture_of_its_own():
    torch.manual_seed(0)
    video = torch.randn(2, 3, 1, 3, 32, 32)
    method = ContextPrediction(ResNet(18, 8), width=8, hidden=8).eval()
    whole, alone = (Clips(v, torch.zeros(v.shape[:3]).double()) for v in (video, video.transpose(1, 2).contiguous()))
    outputs = []
    for clips in (whole, alone):
        torch.manual_seed(1)
        outputs.append(method(clips))
    assert all(torch.allclose(outputs[0][name], outputs[1][name]) for name in outputs[0])
