import pytest
import torch
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.encoders import ResNet
from avssl.methods import TrackedPatches
from avssl.methods.temporal.tracked_patches import cut, nearest, patch_colours, patch_places


def made(**options):
    torch.manual_seed(0)
    return TrackedPatches(ResNet(18, 8), size=32, width=8, hidden=8, **options)


def test_the_loss_is_the_mean_over_triplets_of_other_videos_that_violate_the_margin():
    method = made(negatives=100)  # all of them
    vectors = F.normalize(torch.randn(6, 2, 8), dim=2)
    known = torch.tensor([True, True, False, True, True, True])
    video = torch.tensor([0, 0, 1, 1, 2, 2])
    costs = []
    for row in range(6):
        for side in range(2):
            own = 1 - vectors[row, side] @ vectors[row, 1 - side]
            for other in range(6):
                for end in range(2):
                    if known[row] and known[other] and video[row] != video[other]:
                        costs.append(own - (1 - vectors[row, side] @ vectors[other, end]) + 0.5)
    costs = torch.stack(costs)
    expected = costs[costs > 0].mean()
    assert method._loss(vectors, known, video).item() == pytest.approx(expected.item(), abs=1e-5)
    method.after_step(1.0)  # the hardest, once more: the same here, where all are drawn
    assert method._loss(vectors, known, video).item() == pytest.approx(expected.item(), abs=1e-5)


def test_hard_negatives_come_later_and_cost_more():
    method = made(negatives=1)
    vectors = F.normalize(torch.randn(32, 2, 8), dim=2)
    known, video = torch.ones(32, dtype=torch.bool), torch.arange(32)
    method.after_step(0.1)
    early = torch.stack([method._loss(vectors, known, video) for _ in range(8)]).mean()
    method.after_step(0.9)
    assert torch.stack([method._loss(vectors, known, video) for _ in range(8)]).mean() > early + 0.1


def test_without_a_track_there_is_no_loss_and_the_metric_is_at_chance():
    method = made().eval()
    clips = Clips(torch.randn(4, 1, 8, 3, 64, 64), torch.arange(8).double().expand(4, 1, 8))
    clips.target = torch.zeros(4, 1, 2, 4)
    out = method(clips)
    assert out["loss"].item() == 0
    assert torch.equal(out["nearest"], out["chance/nearest"])


def test_patches_are_cut_where_the_boxes_are():
    frames = torch.arange(64.0).view(1, 1, 1, 8, 8).expand(1, 1, 3, 8, 8)
    patch = cut(frames, torch.tensor([[[2.0, 3.0, 6.0, 7.0]]]), 4)[0, 0, 0]
    assert torch.allclose(patch, frames[0, 0, 0, 3:7, 2:6])


def test_the_nearest_of_other_videos_and_what_needs_no_network():
    apart = torch.tensor([[0.5, 0.1, 0.6], [0.9, 0.2, 0.1], [0.3, 0.3, 0.3]])
    right, chance = nearest(apart, torch.ones(3, dtype=torch.bool), torch.tensor([0, 0, 1]))
    assert right.tolist() == [1, 0, 0]  # row 0 is compared with row 2 alone; a tie is not nearer
    assert torch.allclose(chance, torch.tensor([1 / 2, 1 / 2, 1 / 3]))
    pairs = torch.rand(3, 2, 3, 16, 16) * 0.2 + torch.tensor([0.0, 0.3, 0.7]).view(3, 1, 1, 1, 1)
    assert patch_colours(pairs).argmin(1).tolist() == [0, 1, 2]
    boxes = torch.tensor([[0.0, 0, 9, 9], [50, 0, 59, 9], [0, 50, 9, 59]])
    assert patch_places(torch.stack([boxes, boxes + 5], 1)).argmin(1).tolist() == [0, 1, 2]
