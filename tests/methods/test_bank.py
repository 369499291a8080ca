"""AVID's memory of one vector per video, and its stage of cross-modal agreement."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from avssl.catalog.index import open_manifest
from avssl.clips import Clips
from avssl.data.dataset import ClipDataset, collate
from avssl.data.transforms import Squash
from avssl.encoders import MC3, VGG
from avssl.media import AudioInfo, VideoInfo
from avssl.methods import AVID, XDC
from avssl.methods.audiovisual.bank import InstanceBank
from avssl.methods.audiovisual.streams import AlignedClips


def bank_of(videos=12, negatives=500):
    torch.manual_seed(0)
    return InstanceBank(videos, 6, negatives, momentum=0.5, temperature=0.07)


def clips_of(b=4, n=1, index=None):
    torch.manual_seed(0)
    times = torch.rand(b, n, 1, dtype=torch.float64) + torch.arange(5) * 0.04
    spans = torch.stack([times[..., 0], times[..., 0] + 0.2], -1)
    sound = 0.1 * torch.randn(b, n, 3200)
    video = torch.randn(b, n, 5, 3, 32, 32)
    return Clips(video, times, sound, spans, spans.clone(), index=index)


def avid(**options):
    torch.manual_seed(0)
    return AVID(MC3(8), VGG(8), AlignedClips(num_frames=5, step=0.04), hidden=8, out=6, **options)


def test_negatives_are_all_videos_but_those_that_agree():
    drawn = bank_of().others(torch.tensor([[0, 3, 4], [5, 10, 11]]))
    assert drawn.shape == (2, 500)
    assert sorted(drawn[0].unique().tolist()) == [1, 2, 5, 6, 7, 8, 9, 10, 11]
    assert sorted(drawn[1].unique().tolist()) == [0, 1, 2, 3, 4, 6, 7, 8, 9]
    counts = drawn[0].bincount()
    assert counts[counts > 0].min() > 30  # of 56 on average


def test_the_loss_tells_positives_from_noise():
    bank = bank_of()
    positive, negative = torch.randn(3, 2), torch.randn(3, 7)
    constant = negative.exp().mean().item()

    def expected(scores, known):
        model = [[math.exp(s) / (math.exp(s) + 7 * constant) for s in row] for row in scores[0].tolist()]
        noise = [[7 * constant / (math.exp(s) + 7 * constant) for s in row] for row in scores[1].tolist()]
        parts = [-sum(map(math.log, m)) / len(m) - sum(map(math.log, n)) for m, n in zip(model, noise, strict=True)]
        return pytest.approx(sum(parts) / len(parts), rel=1e-4)

    assert bank.loss(positive, negative).item() == expected((positive, negative), constant)
    other = positive + 1, negative - 2
    assert bank.loss(*other).item() == expected(other, constant)  # the constant is that of the first step
    assert bank.partition.item() == pytest.approx(constant, rel=1e-5)


def test_vectors_move_towards_the_latest_and_the_videos_that_agree_in_both_modalities_are_found():
    bank = bank_of()
    before, new = bank.seen.clone(), F.normalize(torch.randn(2, 6), dim=1)
    bank.update(torch.tensor([7, 2]), new, new)
    assert torch.equal(bank.seen[[0, 1, 3]], before[[0, 1, 3]])
    torch.testing.assert_close(bank.seen[7], F.normalize(before[7] + new[0], dim=0))
    found = bank.agreeing(3)
    alike = torch.minimum(bank.seen @ bank.seen.T, bank.heard @ bank.heard.T).fill_diagonal_(9)
    for video in range(12):
        assert found[video].tolist() == sorted(alike[video].argsort(descending=True)[:4].tolist())


def test_a_clip_meets_the_vectors_of_its_own_video_and_agreement_adds_those_of_others():
    method = avid(bank=12, negatives=8, agreement=0.5, positives=3, within=4, batch_norm=False)
    clips = clips_of(index=torch.tensor([3, 0, 11, 5]))
    before = method.bank.heard.clone()
    out = method(clips)
    out["loss"].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in method.parameters())
    method.after_step(0.4)
    moved = (method.bank.heard != before).any(1)
    assert moved.nonzero().flatten().tolist() == [0, 3, 5, 11]
    assert not method.members.any()
    method(clips)
    method.after_step(0.6)
    assert torch.equal(method.members, method.bank.agreeing(3))
    members = method.members.clone()
    again = avid(bank=12, negatives=8, agreement=0.5, positives=3, within=4, batch_norm=False)
    again.load_state_dict(method.state_dict())
    torch.manual_seed(1)
    loss = method(clips)["loss"]
    torch.manual_seed(1)
    assert torch.equal(again(clips)["loss"], loss)
    again.agreed.set(0)
    torch.manual_seed(1)
    assert again(clips)["loss"] < loss  # the loss within each modality is added
    method.after_step(0.8)
    assert torch.equal(method.members, members)  # positives are found once
    held_out = method.eval()(replace(clips, index=torch.tensor([90, 91, 92, 93])))
    assert torch.isfinite(held_out["loss"])
    with pytest.raises(ValueError, match=r"Clips\.index is None"):
        method.train()(replace(clips, index=None))


def test_a_video_is_one_instance_with_a_place_of_its_own(world):
    with pytest.raises(ValueError, match=r"AVID: sampler\.clips must be 1"):
        AVID(MC3(8), VGG(8), AlignedClips(2, 5, 0.04))
    with pytest.raises(ValueError, match="agreement needs a bank of more than 33"):
        avid(agreement=0.5)
    videos = ClipDataset(open_manifest(world), AlignedClips(1, 5, 0.04), Squash(16))
    assert collate([videos[0, 3], videos[2, 1]])[0].index.tolist() == [3, 1]
    with pytest.raises(ValueError, match=r"method\.bank is 12, but there are 24 videos"):
        avid(bank=12).check(videos, videos)
    avid(bank=24).check(videos, videos)


def test_sound_may_be_longer_than_the_pictures_and_has_the_same_middle():
    sampler = AlignedClips(2, 8, 0.0625, sound=2.0)
    info = VideoInfo(Path("a.mp4"), 5.0, 16.0, (80, 80), AudioInfo(16000, 1, 0.5, 4.0, "aac"))
    rng = torch.Generator().manual_seed(0)
    for times, audio, _ in (sampler(info, rng) for _ in range(50)):
        torch.testing.assert_close(audio[:, 1] - audio[:, 0], torch.full((2,), 2.0).double())
        torch.testing.assert_close(audio.mean(1), times[:, 0] + 0.25)
        assert audio.min() >= 0.5 - 0.5 / 16
        assert audio.max() <= 4.5 + 0.5 / 16
    with pytest.raises(ValueError, match=r"sound=0\.2 is shorter than the 0\.50 s of pictures"):
        AlignedClips(1, 8, 0.0625, sound=0.2)


def test_xdc_takes_several_clips_of_a_video():
    torch.manual_seed(0)
    method = XDC(MC3(8), VGG(8), AlignedClips(2, 5, 0.04), clusters=3, memory=16, every=2)
    clips = clips_of(4, 2)
    for step in range(2):
        out = method(clips)
        assert out["video_says_audio"].shape == out["chance/video_says_audio"].shape == (4,)
        out["loss"].backward()
        method.after_step((step + 1) / 2)
    assert method.written == 16
