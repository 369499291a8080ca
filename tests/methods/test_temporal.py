import math
from itertools import permutations

import pytest
import torch

from avssl.clips import Clips
from avssl.data.samplers import ShuffledClips
from avssl.encoders import R3D, ResNet
from avssl.methods import VCOP, ShuffleLearn
from avssl.methods.losses import info_nce
from avssl.methods.temporal.shuffle_learn import in_order


@pytest.mark.parametrize("order", permutations(range(3)))
def test_a_tuple_is_in_order_where_the_middle_frame_lies_between(order):
    times = torch.tensor([0.3, 0.9, 1.1]).double()[list(order)]
    assert in_order(times).item() == (order[1] == 1)
    assert in_order(times.flip(0)) == in_order(times)  # backwards counts as in order


FIVE = torch.tensor([[[0.0, 0.4, 0.6, 0.8, 1.2]]]).double()


def test_the_target_moves_with_the_times_and_not_with_the_pixels():
    torch.manual_seed(0)
    method = ShuffleLearn(ResNet(18, 8), hidden=16).eval()
    video = torch.rand(1, 1, 5, 3, 32, 32)
    loss = method(Clips(video, FIVE))["loss"]
    assert method(Clips(video, 3 - FIVE))["loss"] == loss  # backwards counts as in order
    swapped = FIVE[:, :, [2, 1, 0, 3, 4]]  # now the first of the five lies between b and d
    assert method(Clips(video, swapped))["loss"] != loss


def test_accuracies_of_a_constant_answer():
    method = ShuffleLearn(ResNet(18, 8), share=0.25, hidden=16)
    torch.nn.init.zeros_(method.order[-1].weight)
    clips = Clips(torch.rand(4, 1, 5, 3, 32, 32), FIVE.expand(4, 1, 5))
    for answer in (-9.0, 9.0):
        torch.nn.init.constant_(method.order[-1].bias, answer)
        out = method(clips)
        assert out["balanced_accuracy"].mean().item() == pytest.approx(0.5)
        assert out["accuracy"].mean().item() == pytest.approx(0.75 if answer < 0 else 0.25)
        assert out["chance/accuracy"].mean().item() == 0.75


def test_shuffle_learn_refuses_an_encoder_that_mixes_frames():
    with pytest.raises(ValueError, match="needs a frame encoder; R3D"):
        ShuffleLearn(R3D(8), hidden=16)


def test_vcop_numbers_every_order_differently_whatever_the_seconds_are():
    method = VCOP(R3D(8), ShuffledClips(3, 4, 0.1, 0.1))
    starts = torch.tensor(list(permutations([0.5, 2.0, 7.0]))).double()  # [6, 3]
    times = starts[..., None] + torch.arange(4) * 0.1
    numbers = method.order_shown(times)
    assert sorted(numbers.tolist()) == list(range(6))
    assert torch.equal(method.order_shown(times * 3 + 1), numbers)


def test_info_nce_is_equation_1_of_simclr():
    torch.manual_seed(0)
    first, second = torch.randn(4, 6), torch.randn(4, 6)
    views = [vector / vector.norm() for vector in torch.cat([first, second])]
    total = 0.0
    for i, view in enumerate(views):
        partner = (i + 4) % 8
        weights = [math.exp(float(view @ other) / 0.2) for other in views]
        total -= math.log(weights[partner] / (sum(weights) - weights[i])) / 8
    loss, _, chance = info_nce(first, second, 0.2)
    assert loss.item() == pytest.approx(total, rel=1e-5)
    assert chance.tolist() == [pytest.approx(1 / 7)] * 4
    assert info_nce(first, 5 * first, 0.2)[1].tolist() == [1.0] * 4  # length does not matter
