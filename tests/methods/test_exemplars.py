from itertools import permutations

import pytest
import torch
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.encoders import ResNet
from avssl.methods import Exemplar, NoiseAsTargets
from avssl.methods.frame.exemplar import Views


def test_views_are_of_one_moment(world):
    from avssl.media import probe

    info = probe(sorted(world.glob("*/*.mp4"))[0])
    times = Views(clips=3)(info, torch.Generator().manual_seed(0)).times
    assert times.shape == (3, 1)
    assert (times == times[0]).all()
    with pytest.raises(ValueError, match="clips is 1"):
        Views(clips=1)


@torch.no_grad()
def test_an_exemplar_is_right_if_a_view_is_nearest_to_one_of_the_same_picture():
    method = Exemplar(ResNet(18, 8), Views(clips=2), out=4).eval()
    vectors = torch.eye(4)[[0, 0, 1, 2, 2, 3]]  # views of pictures 0, 1, 2: only those of 0 are alike

    class Given(torch.nn.Module):
        def forward(self, clips):
            return vectors

    method.encoder, method.head = Given(), torch.nn.Identity()
    out = method(Clips(torch.zeros(3, 2, 1, 3, 8, 8), torch.zeros(3, 2, 1)))
    assert out["accuracy"].tolist()[0] == 1
    assert out["chance/accuracy"].tolist() == pytest.approx([1 / 5] * 3)
    # the positive pair of picture 0 is at 0, its nearest negatives at 2: no cost; that of the others at 2, too far
    assert out["loss"].item() == pytest.approx((0 * 2 + 0.5 * 4) / 6, abs=1e-5)


@torch.no_grad()
def test_targets_are_exchanged_for_the_least_sum_of_distances_and_none_is_lost():
    torch.manual_seed(0)
    method = NoiseAsTargets(ResNet(18, 8), targets=12, out=6)
    vectors, index = F.normalize(torch.randn(6, 6), dim=1), torch.tensor([3, 0, 7, 11, 5, 3])
    seen = index[:5]

    def cost(own):
        return (vectors[:5] - method.points[own]).square().sum(1).sum()

    before = method.own.clone()
    least = min(cost(before[seen[list(order)]]) for order in permutations(range(5)))
    method.exchange(index, vectors)  # one of them twice
    assert cost(method.own[seen]).item() == pytest.approx(least.item(), abs=1e-5)
    assert cost(before[seen]) > least + 0.1
    assert sorted(method.own.tolist()) == list(range(12))
    others = [place for place in range(12) if place not in index]
    assert torch.equal(method.own[others], before[others])


def test_targets_are_exchanged_in_every_third_epoch_only():
    torch.manual_seed(0)
    method = NoiseAsTargets(ResNet(18, 8), targets=8, out=4)
    changed = []
    for step in range(12):  # of four videos: two in an epoch
        before = method.own.clone()
        index = torch.arange(4) + 4 * (step % 2)
        method(Clips(torch.randn(4, 2, 1, 3, 32, 32), torch.zeros(4, 2, 1), index=index))
        method.after_step((step + 1) / 12)
        changed.append(not torch.equal(method.own, before))
    assert not any(changed[:4] + changed[6:10])
    assert any(changed[4:6])
    assert any(changed[10:])
