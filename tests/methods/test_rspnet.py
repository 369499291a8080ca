"""RSPNet and its queue; inter-intra contrast."""

from dataclasses import replace

import pytest
import torch
from made import clips_of
from torch.nn import functional as F

from avssl.data.samplers import RandomClips
from avssl.encoders import R3D
from avssl.encoders.vit import GAIN
from avssl.media import VideoInfo
from avssl.methods import IIC, RSPNet
from avssl.methods.queue import KeyQueue
from avssl.methods.temporal.iic import repeated, shuffled
from avssl.methods.temporal.rspnet import RelativePaces, own_pace_first


def test_a_queue_holds_the_last_keys_and_no_others():
    queue = KeyQueue(5, 2).train()
    keys = torch.arange(16.0).view(8, 2)
    query = torch.tensor([[1.0, 0.0]])
    assert queue.similarities(query).isneginf().all()
    queue.offer(keys[:2])
    queue.offer(keys[2:3])  # of another batch of the same step
    queue.advance()
    assert queue.similarities(query).tolist() == [[0, 2, 4, -torch.inf, -torch.inf]]
    queue.offer(keys[3:7])
    queue.advance()
    assert sorted(queue.similarities(query)[0].tolist()) == [4, 6, 8, 10, 12]
    queue.eval().offer(keys[7:])
    queue.advance()
    assert queue.seen == 7
    assert KeyQueue(0, 2).similarities(query).shape == (1, 0)


def test_the_pace_of_a_key_does_not_tell_which_key_it_is():
    info = VideoInfo("x.mp4", 5.0, 25.0, (8, 8))
    sampler = RelativePaces(4, 0.1, (1, 2))
    rng = torch.Generator().manual_seed(0)
    times = torch.stack([sampler(info, rng).times for _ in range(800)])  # [800, 3, 4]
    pace = ((times[:, :, -1] - times[:, :, 0]) / 0.3).round()
    first = own_pace_first(times)
    assert torch.equal(first, pace[:, 1] == pace[:, 0])
    assert torch.equal(~first, pace[:, 2] == pace[:, 0])
    for part in (first, pace[:, 0] == 1, first == (pace[:, 0] == 1)):
        assert 0.45 < part.double().mean() < 0.55
    assert times.amin() >= 0
    assert times.amax() <= 5
    with pytest.raises(ValueError, match="rising"):
        RelativePaces(paces=(2, 1))


def test_the_loss_is_the_papers():
    torch.manual_seed(0)
    method = RSPNet(R3D(8), RelativePaces(4), out=6, temperature=0.5, margin=1.5, motion=2.0, queue=4)
    clips = clips_of(3, 3, 4, 16)
    times = torch.arange(4.0) * torch.tensor([[1.0, 1, 2], [1, 2, 1], [2, 1, 2]])[..., None]
    method.queue.keys.copy_(F.normalize(torch.randn(4, 6), dim=1))
    method.queue.seen.fill_(2)  # two places are empty
    clips = replace(clips, times=times.double())
    out = method.train(False)(clips)
    vectors = method.head(method.encoder(clips.video.flatten(0, 1))).unflatten(0, (3, 3))  # the copy has no own weights
    look, move = (F.normalize(part, dim=-1) for part in vectors.split(6, -1))
    margins, entropies, right = [], [], []
    for video, (own, other) in enumerate([(1, 2), (2, 1), (2, 1)]):
        near, far = (move[video, 0] @ move[video, key] / 0.5 for key in (own, other))
        margins.append((1.5 - near + far).clamp(min=0))
        right.append(float(near > far))
        for key in (1, 2):
            every = torch.cat([look[:, key], method.queue.keys[:2]]) @ look[video, 0] / 0.5
            entropies.append(every.logsumexp(0) - every[video])
    expected = 2 * sum(margins) / 3 + sum(entropies) / 3
    torch.testing.assert_close(out["loss"], expected)
    assert out["speed"].tolist() == right
    assert out["chance/accuracy"].tolist() == pytest.approx([1 / 3] * 3)


def test_intra_negatives_show_the_frames_of_the_clip_but_not_their_motion():
    torch.manual_seed(0)
    video = torch.arange(8.0).view(1, 8, 1, 1, 1).expand(300, 8, 3, 2, 2)
    still = repeated(video)[:, :, 0, 0, 0]
    assert torch.equal(still, still[:, :1].expand(-1, 8))
    assert set(still[:, 0].tolist()) == set(range(8))
    mixed = shuffled(video)[:, :, 0, 0, 0].long()  # pieces of two frames
    pieces = mixed[:, ::2] // 2
    assert torch.equal(mixed, torch.stack([2 * pieces, 2 * pieces + 1], 2).flatten(1))
    assert ((pieces != torch.arange(4)).sum(1) == 2).all()  # two are exchanged, always different ones
    assert len(pieces.unique(dim=0)) == 6


def test_views_find_each_other_among_views_and_broken_clips():
    torch.manual_seed(0)
    method = IIC(R3D(8), RandomClips(2, 4, 0.1), "shuffle", temperature=0.5).eval()
    clips = clips_of(3, 2, 4, 16)
    torch.manual_seed(1)
    out = method(clips)
    torch.manual_seed(1)
    broken = shuffled(clips.video[:, 0])
    views = (clips.video[:, 0], GAIN * (clips.video[:, 1, 1:] - clips.video[:, 1, :-1]), broken)
    frames, differences, negatives = (F.normalize(method.encoder(view), dim=1) for view in views)
    expected = 0
    for one, other in ((frames, differences), (differences, frames)):
        scores = one @ torch.cat([other, negatives]).T / 0.5
        expected = expected + F.cross_entropy(scores, torch.arange(3))
    torch.testing.assert_close(out["loss"], expected)
    with pytest.raises(ValueError, match="multiple of 4"):
        IIC(R3D(8), RandomClips(2, 6, 0.1), "shuffle")
    with pytest.raises(ValueError, match="must be 2"):
        IIC(R3D(8), RandomClips(1, 8, 0.1))
