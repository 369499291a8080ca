"""Combinations of turns, mirroring, shifts, reversal and paces, and the network that tells them apart."""

from collections import Counter

import pytest
import torch
from torch.nn import functional as F

from avssl.encoders import R3D, ResNet, load_encoder, save_encoder
from avssl.encoders.export import load
from avssl.encoders.transformed import Changes, TransformationJudge
from avssl.methods import Transformations
from avssl.pixels import MEAN, STD


def test_the_papers_combinations_are_there():
    frames = Changes(shift=8, reverse=False, paces=(1,))
    assert (frames.count, Changes().count) == (72, 32)
    assert len(set(frames.combinations)) == 72
    digits = frames.digits(torch.arange(72))
    assert list(zip(*(digit.tolist() for digit in digits.values()), strict=True)) == frames.combinations


def test_pixels_are_moved_as_said():
    changes = Changes(shift=2, paces=(1, 2))
    clip = torch.randn(1, 8, 3, 8, 8)
    numbers = torch.arange(changes.count)[None]
    shown = changes.apply(clip, numbers)[0]  # [K, 4, 3, 8, 8]
    for number, (turn, mirror, down, across, reverse, pace) in enumerate(changes.combinations):
        picture = clip[0, [2, 3, 4, 5] if pace == 0 else [0, 2, 4, 6]]
        picture = picture.flip(0) if reverse else picture
        picture = (picture.flip(3) if mirror else picture).rot90(turn, (2, 3))
        padded = F.pad(picture, (2, 2, 2, 2), mode="reflect")
        top, left = 2 - 2 * (down - 1), 2 - 2 * (across - 1)
        torch.testing.assert_close(shown[number], padded[..., top : top + 8, left : left + 8])
    assert not torch.equal(shown[0], shown[1])


def test_without_shifts_the_same_pixels_are_there():
    clip = torch.randn(2, 4, 3, 6, 6)
    changes = Changes(paces=(1,))
    shown = changes.apply(clip, torch.arange(changes.count).expand(2, -1))
    for row in shown.flatten(0, 1):
        assert Counter(row.flatten().tolist()) in (
            Counter(clip[0].flatten().tolist()),
            Counter(clip[1].flatten().tolist()),
        )


def test_settings_that_make_no_task_are_refused():
    with pytest.raises(ValueError, match="a single combination"):
        Changes(turns=False, mirror=False, reverse=False, paces=(1,))
    with pytest.raises(ValueError, match="read a multiple"):
        Changes().shown(7)
    with pytest.raises(ValueError, match="square"):
        Changes(paces=(1,)).apply(torch.randn(1, 2, 3, 4, 6), torch.zeros(1, 1, dtype=torch.long))


@pytest.mark.parametrize("joint", [True, False])
def test_a_judge_says_how_likely_each_combination_is_and_is_exported(tmp_path, joint):
    torch.manual_seed(0)
    changes = Changes(shift=4, reverse=False, paces=(1,))
    method = Transformations(ResNet(depth=18, width=8), changes=changes, joint=joint)
    judge = method.judge.eval()
    clips = torch.randn(2, 1, 3, 32, 32)
    logs = judge(clips).unflatten(1, (72, 72))
    torch.testing.assert_close(logs.exp().sum(2), torch.ones(2, 72))
    one = changes.apply(clips, torch.full((2, 1), 37))[:, 0]
    torch.testing.assert_close(logs[:, 37], judge.joined(judge.logits(one)))
    card = {"mean": MEAN, "std": STD, "size": (32, 32)}
    for name, network in method.exports().items():
        save_encoder(network, tmp_path / name, card)
    again = load(tmp_path, TransformationJudge, "judge")
    torch.testing.assert_close(again(clips), logs.flatten(1))
    assert load_encoder(tmp_path).num_features == 64


def test_factors_of_one_value_have_no_head():
    judge = TransformationJudge(R3D(width=8), Changes(turns=False), joint=False)
    assert list(judge.heads) == ["mirror", "reverse", "pace"]
    numbers = torch.arange(8)
    digits = torch.stack(list(judge.targets(numbers).values()), 1)
    assert len({tuple(row) for row in digits.tolist()}) == 8


def test_places_found_while_measuring_serve_training():
    changes = Changes()
    with torch.inference_mode():
        changes.apply(torch.randn(1, 4, 3, 8, 8), torch.arange(2)[None])
    clip = torch.randn(1, 4, 3, 8, 8, requires_grad=True)
    changes.apply(clip, torch.arange(2)[None]).sum().backward()
    assert clip.grad is not None
