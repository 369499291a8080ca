"""SparseSync: classification of the offset of a longer clip.

V. Iashin, W. Xie, E. Rahtu, A. Zisserman: Sparse in Space and Time: Audio-visual Synchronisation with Trainable
Selectors. BMVC 2022. https://arxiv.org/abs/2210.07055
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.clips import Clips, ClipTimes
from avssl.data.samplers import check_sampler, clip_times, uniform
from avssl.encoders import AudioEncoder, Encoder
from avssl.media import VideoInfo
from avssl.methods.audiovisual.streams import AudioVisualMethod, audio_delay, common_span
from avssl.methods.base import measured
from avssl.sync.offset import describe_offset

GRID = 4  # height and width to which the video maps are pooled


@dataclass(frozen=True)
class OffsetClip:
    """Sampler of one clip with sound that is late or early by a multiple of ``grid`` seconds.

    The position of the picture is independent of the offset. That of the sound then can't be: if recordings are hardly
    longer than a clip and begin and end alike, the position of the sound alone is informative of the offset.

    Args:
        num_frames: frames per clip (T); paper: 5 s.
        step: seconds between two frames of a clip.
        grid: seconds from one offset to the next (paper: 0.2).
        classes: number of offsets, odd, at least 3, 0 in the middle (paper: 21, ±2 s).
    """

    num_frames: int = 125
    step: float = 0.04
    grid: float = 0.2
    classes: int = 21

    def __post_init__(self) -> None:
        check_sampler(self)
        if self.classes % 2 == 0 or self.classes < 3:
            raise ValueError(f"OffsetClip.classes: expected an odd number from 3 up, got {self.classes}")

    @property
    def largest(self) -> float:
        """Largest offset in seconds."""
        return self.classes // 2 * self.grid

    @property
    def seconds(self) -> float:
        """Duration of a clip with the largest offset before and after it."""
        return self.num_frames * self.step + 2 * self.largest

    def __call__(self, info: VideoInfo, rng: torch.Generator) -> ClipTimes:
        """Draw times ``[1, T]`` and one sound; late sound is taken from earlier in the recording."""
        begin, end = common_span(info, self.seconds)
        begin += self.largest
        last = max(begin, end - self.largest - self.num_frames * self.step)
        start = torch.tensor([uniform(begin, last, rng)], dtype=torch.float64)
        delay = (int(torch.randint(self.classes, (), generator=rng)) - self.classes // 2) * self.grid
        times = clip_times(start, self.num_frames, self.step)
        heard = torch.stack([start - delay, start - delay + self.num_frames * self.step], 1)
        return ClipTimes(times, heard)


class SparseSync(AudioVisualMethod):
    """Predict by how much the sound of a clip is early or late.

    Both streams become tokens with a code of their time, and for video also of their location. Since synchronised
    events are rare and small, learned queries first select from each stream (section 3, the selectors); a transformer
    over the selected tokens classifies the offset on a grid. The target follows from the times: ``times -
    audio_times``, positive where the sound is late.

    Metrics: ``accuracy``, chance one over the number of classes; ``within_one``, at most one grid step away, as in the
    paper's experiments, chance 3 over their number, which a constant answer reaches.

    Args:
        encoder: clip encoder; the finer its maps in time, the better.
        width: width of the transformers, a multiple of ``heads``.
        heads: attention heads.
        layers: layers per selector, and of the transformer after them.
        selectors: learned queries per stream.
    """

    sampler: OffsetClip

    def __init__(
        self,
        encoder: Encoder,
        audio_encoder: AudioEncoder,
        sampler: OffsetClip | None = None,
        width: int = 512,
        heads: int = 8,
        layers: int = 3,
        selectors: int = 16,
    ) -> None:
        super().__init__(encoder, audio_encoder, sampler or OffsetClip())
        self.video_token, self.audio_token = (nn.Linear(part.num_features, width) for part in (encoder, audio_encoder))
        self.place = nn.Parameter(0.02 * torch.randn(GRID * GRID, width))
        self.video_queries, self.audio_queries = (nn.Parameter(torch.randn(selectors, width)) for _ in range(2))
        sizes: dict[str, Any] = {"dim_feedforward": 4 * width, "batch_first": True, "norm_first": True}
        self.video_selector, self.audio_selector = (
            nn.TransformerDecoder(nn.TransformerDecoderLayer(width, heads, **sizes), layers) for _ in range(2)
        )
        self.off = nn.Parameter(0.02 * torch.randn(1, width))
        layer = nn.TransformerEncoderLayer(width, heads, **sizes)
        self.compare = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.classifier = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, self.sampler.classes))

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and metrics over B clips."""
        scores, target = self.scores(clips), self.target(clips)
        error = (scores.argmax(1) - target).abs()
        loss, classes = F.cross_entropy(scores, target), self.sampler.classes
        within_one = error <= 1, min(0.99, 3 / classes)
        return measured(clips, loss, accuracy=(error == 0, 1 / classes), within_one=within_one)

    def scores(self, clips: Clips) -> Tensor:
        """Return logits ``[B, classes]`` float32, from the earliest sound to the latest."""
        maps = self.encoder.maps(clips.video.flatten(0, 1))  # [B, D, T', H', W']
        maps = F.adaptive_avg_pool3d(maps, (maps.shape[2], GRID, GRID))
        span = self.sampler.num_frames * self.sampler.step
        seen = self.video_token(rearrange(maps, "b d t h w -> b t (h w) d"))  # [B, T', GRID GRID, width]
        seen = seen + self.place + seconds_code(seen.shape[1], span, seen)[:, None]
        heard = self.audio_token(self.audio_encoder.maps(self.sounds(clips)).mT)
        heard = heard + seconds_code(heard.shape[1], span, heard)  # [B, T'_a, width]
        selected = [
            selector(queries.expand(len(clips), -1, -1), tokens)  # [B, selectors, width]
            for selector, queries, tokens in (
                (self.video_selector, self.video_queries, seen.flatten(1, 2)),
                (self.audio_selector, self.audio_queries, heard),
            )
        ]
        tokens = torch.cat([self.off.expand(len(clips), -1, -1), *selected], 1)
        return self.classifier(self.compare(tokens)[:, 0]).float()

    def target(self, clips: Clips) -> Tensor:
        """Return the class of the offset, ``[B]``."""
        return (audio_delay(clips)[:, 0] / self.sampler.grid).round().long() + self.sampler.classes // 2

    def describe(self, clips: Clips) -> list[list[str]]:
        """Return by how much the sound is late or early."""
        return [[describe_offset(seconds) for seconds in row] for row in audio_delay(clips).tolist()]


def seconds_code(steps: int, span: float, like: Tensor) -> Tensor:
    """Return sinusoidal codes ``[steps, width]`` of the centres of ``steps`` equal parts of ``span`` seconds.

    Periods range from 0.1 s to 100 s; equal times of picture and sound have equal codes.
    """
    seconds = (torch.arange(steps, device=like.device) + 0.5) * span / steps
    half = like.shape[-1] // 2
    periods = 0.1 * 1000 ** (torch.arange(half, device=like.device) / max(1, half - 1))
    angles = 2 * torch.pi * seconds[:, None] / periods  # [steps, half]
    return torch.cat([angles.sin(), angles.cos()], 1).to(like.dtype)
