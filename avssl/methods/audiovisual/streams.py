"""Shared parts of the audio-visual methods: samplers, audio, offsets, and the bases of methods with two encoders."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from avssl.clips import Clips, ClipTimes
from avssl.data.samplers import ClipSampler, check_sampler, clip_times, on_frames, sound_of, uniform
from avssl.encoders import AudioEncoder, Encoder
from avssl.encoders.base import Exportable
from avssl.media import VideoInfo
from avssl.methods.base import Method
from avssl.sync.network import TwoStream

IN_SYNC = 1e-6  # seconds below which picture and sound begin at the same moment


def common_span(info: VideoInfo, needed: float) -> tuple[float, float]:
    """Return the seconds for which a recording has both picture *and* sound, so that no missing sound is read.

    The span begins on a frame. If it is shorter than ``needed`` seconds, the whole picture is returned; `valid_audio`
    then silences all clips of the video equally.
    """
    begin, end = 0.0, info.duration
    if info.audio is not None:
        begin, end = max(begin, info.audio.start), min(end, info.audio.start + info.audio.duration)
    if not info.vfr:
        begin = math.ceil(begin * info.fps - 1e-6) / info.fps
    return (begin, end) if end - begin >= needed else (0.0, info.duration)


class SoundSampler(ClipSampler, Protocol):
    """Draws clips with sounds that are all equally long."""

    @property
    def heard(self) -> float:
        """Duration of the sound of a clip in seconds."""
        ...


@dataclass(frozen=True)
class AlignedClips:
    """Sampler of clips at different moments, each with its own sound, in random order.

    Every picture and every sound has the same distribution, so that neither alone reveals which belong together.
    Pictures and sound have the same middle.

    Args:
        clips: clips per video (N).
        num_frames: frames per clip (T).
        step: seconds between two frames of a clip.
        apart: least seconds from the start of one clip to the start of the next.
        sound: seconds of sound of each clip, at least as many as of pictures; None for as many.
        channels: channels of the sound; 1 for their mean.
    """

    clips: int = 1
    num_frames: int = 16
    step: float = 0.08
    apart: float = 0.0
    sound: float | None = None
    channels: int = 1

    def __post_init__(self) -> None:
        if self.heard < self.span - 1e-9:
            raise ValueError(f"AlignedClips: sound={self.sound} is shorter than the {self.span:.2f} s of pictures")
        check_sampler(self)

    @property
    def span(self) -> float:
        """Duration of the pictures of a clip."""
        return self.num_frames * self.step

    @property
    def heard(self) -> float:
        """Duration of the sound of a clip."""
        return self.span if self.sound is None else self.sound

    @property
    def seconds(self) -> float:
        """Least duration of all clips together, with their sound."""
        return self.heard + (self.clips - 1) * self.apart

    def __call__(self, info: VideoInfo, rng: torch.Generator) -> ClipTimes:
        """Draw times ``[N, T]`` and the sound of the same seconds, or of some around them."""
        begin, end = common_span(info, self.seconds)
        room = end - begin - self.seconds
        before = (self.heard - self.span) / 2
        places = room * torch.rand(self.clips, generator=rng, dtype=torch.float64).sort().values
        starts = on_frames(begin + before + places + self.apart * torch.arange(self.clips), info)
        times = clip_times(starts[torch.randperm(self.clips, generator=rng)], self.num_frames, self.step)
        if self.sound is None:
            return ClipTimes(times, sound_of(times, self.step))
        return ClipTimes(times, torch.stack([times[:, 0] - before, times[:, 0] - before + self.sound], 1))


def draw_two_moments(begin: float, end: float, low: float, high: float, rng: torch.Generator) -> tuple[float, float]:
    """Draw two moments in [begin, end], ``low`` to ``high`` seconds apart, both with the same distribution."""
    distance = uniform(min(low, end - begin), min(high, end - begin), rng)
    first = uniform(begin, end - distance, rng)
    pair = (first, first + distance)
    return pair if uniform(0, 1, rng) < 0.5 else pair[::-1]


def valid_audio(clips: Clips, encoder: AudioEncoder, span: float) -> Tensor:
    """Return samples ``[B, N, S]``, silenced wherever *any* of a video's N clips reaches beyond the recording.

    Otherwise the silence beyond the recording could tell clips apart. ``encoder`` receives the samples; each sound
    lasts ``span`` seconds.

    Raises:
        ValueError: if there is no sound, or its sampling rate isn't the encoder's.
    """
    if clips.audio is None or clips.audio_times is None or clips.audio_valid is None:
        raise ValueError("an audio-visual method needs sound: these clips have none")
    samples = clips.audio.shape[2]
    spans = clips.audio_times
    rate = samples / span
    if abs(rate / encoder.rate - 1) > 0.01:
        raise ValueError(
            f"the sound has {rate:.0f} samples per second, {type(encoder).__name__} expects {encoder.rate}: "
            f"set data.audio_rate to {encoder.rate}, or the encoder's rate to that of the sound"
        )
    begin = (clips.audio_valid[..., 0] - spans[..., 0]).amax(1, keepdim=True)[..., None]  # [B, 1, 1]
    end = (clips.audio_valid[..., 1] - spans[..., 0]).amin(1, keepdim=True)[..., None]
    place = (torch.arange(samples, device=spans.device) + 0.5) / rate
    return torch.where((place >= begin - 1 / rate) & (place <= end + 1 / rate), clips.audio, 0.0)


def pairwise_offsets(clips: Clips) -> Tensor:
    """Return the seconds ``[B, N, N]`` from the start of picture i to the start of sound j; 0 is in sync."""
    assert clips.audio_times is not None
    return clips.audio_times[:, None, :, 0] - clips.times[:, :, None, 0]


def audio_delay(clips: Clips) -> Tensor:
    """Return the seconds ``[B, N]`` by which the sound is late, i.e. was taken from earlier in the recording."""
    assert clips.audio_times is not None
    return clips.times[..., 0] - clips.audio_times[..., 0]


class AudioVisualMethod(Method):
    """A pretext task with two encoders, of clips and of sound, both of which are exported."""

    audio_encoder: AudioEncoder
    sampler: SoundSampler

    def __init__(self, encoder: Encoder, audio_encoder: AudioEncoder, sampler: SoundSampler) -> None:
        super().__init__(encoder, sampler)
        self.audio_encoder = audio_encoder

    def sounds(self, clips: Clips) -> Tensor:
        """Return the samples of all clips, see `valid_audio`: ``[B N, S]``."""
        return valid_audio(clips, self.audio_encoder, self.sampler.heard).flatten(0, 1)

    def exports(self) -> dict[str, Exportable]:
        """Return both encoders."""
        return {"encoder": self.encoder, "audio_encoder": self.audio_encoder}


class TwoStreamMethod(AudioVisualMethod):
    """A pretext task over a `TwoStream` network, which is exported as a synchroniser too."""

    streams: TwoStream

    def embed(self, clips: Clips) -> tuple[Tensor, Tensor]:
        """Return unit vectors ``[B, N, out]`` of the pictures and of the sounds of B·N clips."""
        seen = self.streams.embed_video(clips.video.flatten(0, 1))
        heard = self.streams.embed_audio(self.sounds(clips))
        return seen.unflatten(0, (len(clips), -1)), heard.unflatten(0, (len(clips), -1))

    def exports(self) -> dict[str, Exportable]:
        """Return the encoder, the audio encoder, and both with their heads as ``sync``."""
        return {**super().exports(), "sync": self.streams}
