"""What audio-visual methods share: where both streams can be read, how sound is taken, and two streams in one space."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from avssl.clips import Clips, ClipTimes
from avssl.data.samplers import clip_times, on_frames, sound_of, uniform
from avssl.encoders import AudioEncoder
from avssl.encoders.base import Exportable
from avssl.media import VideoInfo
from avssl.methods.base import Method
from avssl.sync.network import TwoStream

SAME = 1e-6  # seconds: picture and sound that begin at the same moment


def shared_stretch(info: VideoInfo, needed: float) -> tuple[float, float]:
    """Seconds from and to which a recording has picture *and* sound, so that no silence is read beyond the sound's end.

    It begins with a frame. Where it is shorter than ``needed`` seconds, it is the whole picture; `sound` then makes all
    clips of the video equally silent.
    """
    begin, end = 0.0, info.duration
    if info.audio is not None:
        begin, end = max(begin, info.audio.start), min(end, info.audio.start + info.audio.duration)
    if not info.vfr:
        begin = math.ceil(begin * info.fps - 1e-6) / info.fps
    return (begin, end) if end - begin >= needed else (0.0, info.duration)


@dataclass(frozen=True)
class AlignedClips:
    """Clips of different moments, each with its own sound, in random order.

    Every picture and every sound is drawn the same way, so that neither alone says which belong together.

    Args:
        clips: clips a video (N).
        num_frames: frames a clip (T).
        step: seconds between two frames of a clip.
        apart: least seconds from the start of one clip to that of the next.
    """

    clips: int = 1
    num_frames: int = 16
    step: float = 0.08
    apart: float = 0.0

    @property
    def span(self) -> float:
        """Seconds of a clip and of its sound."""
        return self.num_frames * self.step

    @property
    def seconds(self) -> float:
        """All clips, as near to each other as they may be."""
        return self.span + (self.clips - 1) * self.apart

    def __call__(self, info: VideoInfo, rng: torch.Generator) -> ClipTimes:
        """Times ``[N, T]`` and the sound of the same seconds."""
        begin, end = shared_stretch(info, self.seconds)
        room = end - begin - self.seconds
        places = room * torch.rand(self.clips, generator=rng, dtype=torch.float64).sort().values
        starts = on_frames(begin + places + self.apart * torch.arange(self.clips), info)
        times = clip_times(starts[torch.randperm(self.clips, generator=rng)], self.num_frames, self.step)
        return ClipTimes(times, sound_of(times, self.step))


def apart(begin: float, end: float, low: float, high: float, rng: torch.Generator) -> tuple[float, float]:
    """Two moments in [begin, end], ``low`` to ``high`` seconds apart, in random order: each is drawn like the other."""
    distance = uniform(min(low, end - begin), min(high, end - begin), rng)
    first = uniform(begin, end - distance, rng)
    pair = (first, first + distance)
    return pair if uniform(0, 1, rng) < 0.5 else pair[::-1]


def sound(clips: Clips, encoder: AudioEncoder) -> Tensor:
    """``[B, N, S]`` samples, silent outside of what *all* N clips of a video have of their spans.

    A span that reaches beyond the recording is silent there; without this, the silence could tell clips apart.

    Args:
        clips: with sound.
        encoder: that will listen.

    Raises:
        ValueError: where there is no sound, or its rate isn't the encoder's.
    """
    if clips.audio is None or clips.audio_times is None or clips.audio_valid is None:
        raise ValueError("an audio-visual method needs sound: these clips have none")
    samples = clips.audio.shape[2]
    spans = clips.audio_times
    rate = samples / (spans[0, 0, 1] - spans[0, 0, 0]).item()
    if abs(rate / encoder.rate - 1) > 0.01:
        raise ValueError(
            f"the sound has {rate:.0f} samples a second, {type(encoder).__name__} wants {encoder.rate}: "
            f"set data.audio_rate to {encoder.rate}, or the encoder's rate"
        )
    begin = (clips.audio_valid[..., 0] - spans[..., 0]).amax(1, keepdim=True)[..., None]  # [B, 1, 1]
    end = (clips.audio_valid[..., 1] - spans[..., 0]).amin(1, keepdim=True)[..., None]
    place = (torch.arange(samples, device=spans.device) + 0.5) / rate
    return torch.where((place >= begin - 1 / rate) & (place <= end + 1 / rate), clips.audio, 0.0)


def shifts(clips: Clips) -> Tensor:
    """``[B, N, N]`` seconds by which the sound of clip j was taken after the picture of clip i; 0 is in sync."""
    assert clips.audio_times is not None
    return clips.audio_times[:, None, :, 0] - clips.times[:, :, None, 0]


def late(clips: Clips) -> Tensor:
    """``[B, N]`` seconds by which the sound is late: it was taken from so much earlier in the recording."""
    assert clips.audio_times is not None
    return clips.times[..., 0] - clips.audio_times[..., 0]


class AudioVisualMethod(Method):
    """A pretext task of two encoders, both of which a run exports.

    Attributes:
        audio_encoder: of the sound.
    """

    audio_encoder: AudioEncoder

    def exports(self) -> dict[str, Exportable]:
        """Both encoders."""
        return {"encoder": self.encoder, "audio_encoder": self.audio_encoder}


class TwoStreamMethod(AudioVisualMethod):
    """A pretext task over a `TwoStream` network; a run of it also exports the synchroniser.

    Attributes:
        streams: both encoders and the heads.
    """

    streams: TwoStream

    def embed(self, clips: Clips) -> tuple[Tensor, Tensor]:
        """Unit vectors ``[B, N, out]`` of the pictures and of the sounds of B·N clips."""
        seen = self.streams.embed_video(clips.video.flatten(0, 1))
        heard = self.streams.embed_audio(sound(clips, self.audio_encoder).flatten(0, 1))
        return seen.unflatten(0, (len(clips), -1)), heard.unflatten(0, (len(clips), -1))

    def exports(self) -> dict[str, Exportable]:
        """The encoder, the audio encoder, and both with their heads as ``sync``."""
        return {**super().exports(), "sync": self.streams}
