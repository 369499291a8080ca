"""What audio-visual methods share: where both streams can be read, how sound is taken, and two streams in one space."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.clips import Clips, ClipTimes
from avssl.data.samplers import clip_times, on_frames, sound_of, uniform
from avssl.encoders import AudioEncoder, Encoder
from avssl.encoders.base import Exportable
from avssl.encoders.export import build, plan
from avssl.media import VideoInfo
from avssl.methods.base import Method

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
        frames: frames a clip (T).
        step: seconds between two frames of a clip.
        apart: least seconds from the start of one clip to that of the next.
    """

    clips: int = 1
    frames: int = 16
    step: float = 0.08
    apart: float = 0.0

    @property
    def span(self) -> float:
        """Seconds of a clip and of its sound."""
        return self.frames * self.step

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
        times = clip_times(starts[torch.randperm(self.clips, generator=rng)], self.frames, self.step)
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


def in_words(late: float) -> str:
    """Seconds by which sound is late (negative: early) for people, such as ``sound is 120 ms early``."""
    thousandths = round(1000 * late)
    return "in sync" if thousandths == 0 else f"sound is {abs(thousandths)} ms {'late' if thousandths > 0 else 'early'}"


class Synchroniser(Exportable):
    """A network that says how far a short picture and a sound are from belonging together.

    Args:
        num_features: see `Exportable`.
        config: see `Exportable`.
        frames: T, frames of the picture.
        step: seconds between two of them.
        rate: samples of sound a second.

    Attributes:
        frames: T.
        step: as given.
        rate: as given.
        samples: of the sound that goes with a picture.
    """

    def __init__(self, num_features: int, config: Mapping[str, Any], frames: int, step: float, rate: int) -> None:
        super().__init__(num_features, config)
        self.frames, self.step, self.rate = frames, step, rate
        self.samples = round(frames * step * rate)

    def distances(self, clips: Tensor, sounds: Tensor, which: Tensor) -> Tensor:
        """How far pictures are from sounds; smaller is more in sync.

        Args:
            clips: ``[P, T, 3, H, W]`` float, normalised.
            sounds: ``[Q, S]`` float mono in [-1, 1].
            which: ``[P, O]`` the sounds that each picture is compared with.

        Returns:
            ``[P, O]`` float32.
        """
        raise NotImplementedError


class TwoStream(Synchroniser):
    """A picture stream and a sound stream into one space, on whose unit sphere they are compared.

    Each stream is its encoder's maps, averaged over space (bands), brought to a few moments, laid end to end, and two
    linear layers with batch norm and ReLU in between. The moments keep *when* things happen, which a mean over the clip
    would lose.

    Args:
        encoder: of pictures, or the `plan` of one.
        audio_encoder: of sound, or the `plan` of one.
        hidden: width of the layer in between.
        out: width of the space.
        moments: points in time that the head sees of the picture, and of the sound.
        frames: frames of a clip.
        step: seconds between two of them.
    """

    def __init__(
        self,
        encoder: Encoder | Mapping[str, Any],
        audio_encoder: AudioEncoder | Mapping[str, Any],
        hidden: int,
        out: int,
        moments: tuple[int, int],
        frames: int,
        step: float,
    ) -> None:
        encoder = encoder if isinstance(encoder, Encoder) else build(encoder, Encoder)
        audio_encoder = audio_encoder if isinstance(audio_encoder, AudioEncoder) else build(audio_encoder, AudioEncoder)
        sizes = {"hidden": hidden, "out": out, "moments": list(moments), "frames": frames, "step": step}
        plans = {"encoder": plan(encoder), "audio_encoder": plan(audio_encoder)}
        super().__init__(out, {**plans, **sizes}, frames, step, audio_encoder.rate)
        self.encoder, self.audio_encoder, self.moments = encoder, audio_encoder, tuple(moments)
        self.video_head, self.audio_head = (
            nn.Sequential(
                nn.Linear(part.num_features * points, hidden, bias=False),
                nn.BatchNorm1d(hidden),
                nn.ReLU(),
                nn.Linear(hidden, out),
            )
            for part, points in zip((encoder, audio_encoder), moments, strict=True)
        )

    def see(self, clips: Tensor) -> Tensor:
        """``[P, T, 3, H, W]`` to unit vectors ``[P, out]`` float32."""
        maps = self.encoder.maps(clips).mean((3, 4), dtype=torch.float32)  # [P, D, T']
        return F.normalize(self.video_head(F.adaptive_avg_pool1d(maps, self.moments[0]).flatten(1)).float(), dim=1)

    def slide(self, clips: Tensor) -> Tensor:
        """``[B, T, 3, H, W]`` to unit vectors ``[B, T', out]``, one for each map of the encoder (of `EarlyFusion`)."""
        maps = self.encoder.maps(clips).mean((3, 4), dtype=torch.float32)  # [B, D, T']
        return F.normalize(self.video_head(maps.mT.flatten(0, 1)).float(), dim=1).unflatten(0, (len(clips), -1))

    def hear(self, sounds: Tensor) -> Tensor:
        """``[Q, S]`` to unit vectors ``[Q, out]`` float32."""
        maps = self.audio_encoder.maps(sounds).float()  # [Q, D, T']
        return F.normalize(self.audio_head(F.adaptive_avg_pool1d(maps, self.moments[1]).flatten(1)).float(), dim=1)

    def distances(self, clips: Tensor, sounds: Tensor, which: Tensor) -> Tensor:  # noqa: D102
        seen, heard = self.see(clips), self.hear(sounds)
        return 1 - (seen[:, None] * heard[which]).sum(2)  # [P, O], half the squared distance


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
        seen = self.streams.see(clips.video.flatten(0, 1))
        heard = self.streams.hear(sound(clips, self.audio_encoder).flatten(0, 1))
        return seen.unflatten(0, (len(clips), -1)), heard.unflatten(0, (len(clips), -1))

    def exports(self) -> dict[str, Exportable]:
        """The encoder, the audio encoder, and both with their heads as ``sync``."""
        return {**super().exports(), "sync": self.streams}
