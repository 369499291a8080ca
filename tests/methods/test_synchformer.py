"""Synchformer's second stage: segments of a clip and of its sound, encoded by frozen networks."""

from dataclasses import replace

import pytest
import torch
from made import clips_of

from avssl.encoders import VGG, EarlyFusion
from avssl.methods import Synchformer
from avssl.methods.audiovisual.sparse_sync import OffsetClip

RATE, STEP = 16000, 0.04


def batch(videos, frames):
    clips = clips_of(videos, 1, frames, 32)
    seconds = frames * STEP
    spans = torch.tensor([0.2, 0.2 + seconds]).double().expand(videos, 1, 2)
    sound = torch.randn(videos, 1, round(seconds * RATE))
    times = (torch.arange(frames) * STEP).double().expand(videos, 1, -1)
    return replace(clips, times=times, audio=sound, audio_times=spans, audio_valid=spans)


def made(frozen=True):
    torch.manual_seed(0)
    networks = EarlyFusion(8, depth=10), VGG(8)
    return Synchformer(*networks, OffsetClip(20, STEP, 0.2, 5), frozen, length=8, width=16, heads=2, layers=1)


def test_picture_and_sound_are_cut_into_the_same_overlapping_segments(monkeypatch):
    method, clips = made().eval(), batch(2, 20)
    assert method.segments == 4
    asked = {}
    for name in ("encoder", "audio_encoder"):
        network = getattr(method, name)

        def spied(inputs, maps=network.maps, name=name):
            asked[name] = inputs
            return maps(inputs)

        monkeypatch.setattr(network, "maps", spied)
    out = method(clips)
    for segment, begin in enumerate((0, 4, 8, 12)):
        place = slice(round(begin * STEP * RATE), round((begin + 8) * STEP * RATE))
        for video in range(2):
            shown, heard = asked["encoder"][4 * video + segment], asked["audio_encoder"][4 * video + segment]
            assert torch.equal(shown, clips.video[video, 0, begin : begin + 8])
            assert torch.equal(heard, clips.audio[video, 0, place])
    assert method.target(clips).tolist() == [1, 1]  # the sound is 0.2 s early
    assert out["chance/accuracy"].tolist() == pytest.approx([0.2, 0.2])


def test_frozen_encoders_are_not_trained_and_keep_their_statistics():
    method, clips = made().train(), batch(2, 20)
    before = {name: value.clone() for name, value in method.state_dict().items() if "encoder" in name}
    method(clips)["loss"].backward()
    after = method.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    with_gradient = {name.partition(".")[0] for name, value in method.named_parameters() if value.grad is not None}
    assert with_gradient.isdisjoint({"encoder", "audio_encoder"})
    assert with_gradient >= {"video_token", "audio_token", "compare", "classifier", "off", "between"}
    free = made(frozen=False).train()
    free(clips)["loss"].backward()
    assert all(value.grad is not None for value in free.parameters())
    assert any(not torch.equal(value, free.state_dict()[name]) for name, value in before.items() if "running" in name)


def test_a_clip_must_hold_a_segment():
    with pytest.raises(ValueError, match="length is 30"):
        Synchformer(EarlyFusion(8), VGG(8), OffsetClip(20), length=30)
