"""Synchronisation from features of segments (Synchformer, second stage).

V. Iashin, W. Xie, E. Rahtu, A. Zisserman: Synchformer: Efficient Synchronization from Sparse Cues. ICASSP 2024.
https://arxiv.org/abs/2401.16423
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.encoders import AudioEncoder, Encoder
from avssl.methods.audiovisual.sparse_sync import OffsetClip, seconds_code
from avssl.methods.audiovisual.streams import AudioVisualMethod, audio_delay
from avssl.methods.base import measured
from avssl.runtime.checks import check_ranges
from avssl.sync.offset import describe_offset


class Synchformer(AudioVisualMethod):
    """Predict by how much the sound of a clip is early or late, from short segments that are encoded one by one.

    Segments of picture and of sound, half a segment apart, are encoded each by itself, by networks that a first stage
    has trained to match segments (any contrastive method of one clip and its sound, such as `AVID`) and that stay
    frozen, so that long clips cost little memory. Their features over time become tokens with a
    code of their time, and a transformer over both streams classifies the offset on a grid. The target follows from the
    times, as for `SparseSync`.

    Metrics: ``accuracy``, chance one over the number of classes; ``within_one``, at most one grid step away, chance 3
    over their number, which a constant answer reaches.

    Differences from the paper: features are averaged over space and over frequency, where small transformers with class
    tokens aggregate them; the codes of time are sines and cosines of seconds, not learnt.

    Args:
        encoder: clip encoder; the finer its maps in time, the better.
        sampler: draws clips of whole segments (the paper: 14 segments of 16 frames at 25 per second, in 5 s).
        frozen: keep both encoders as they are, in evaluation mode.
        length: frames per segment (16).
        width: width of the transformer, a multiple of ``heads`` (768).
        heads: attention heads (8).
        layers: layers of the transformer (3).
    """

    sampler: OffsetClip

    def __init__(
        self,
        encoder: Encoder,
        audio_encoder: AudioEncoder,
        sampler: OffsetClip | None = None,
        frozen: bool = True,
        length: int = 16,
        width: int = 768,
        heads: int = 8,
        layers: int = 3,
    ) -> None:
        super().__init__(encoder, audio_encoder, sampler or OffsetClip())
        check_ranges("Synchformer", {"length": length}, length=f"[2, {self.sampler.num_frames}]")
        self.frozen, self.length, self.stride = frozen, length, length // 2
        self.segments = 1 + (self.sampler.num_frames - length) // self.stride
        if frozen:
            encoder.requires_grad_(False)
            audio_encoder.requires_grad_(False)
        self.video_token, self.audio_token = (nn.Linear(part.num_features, width) for part in (encoder, audio_encoder))
        self.off, self.between = (nn.Parameter(0.02 * torch.randn(1, width)) for _ in range(2))
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, batch_first=True, norm_first=True)
        self.compare = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.classifier = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, self.sampler.classes))

    def train(self, mode: bool = True) -> Synchformer:
        """Set training mode; frozen encoders stay in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
            self.audio_encoder.eval()
        return self

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and metrics over B clips."""
        scores, target = self.scores(clips), self.target(clips)
        error, classes = (scores.argmax(1) - target).abs(), self.sampler.classes
        within_one = error <= 1, min(0.99, 3 / classes)
        return measured(
            clips, F.cross_entropy(scores, target), accuracy=(error == 0, 1 / classes), within_one=within_one
        )

    def scores(self, clips: Clips) -> Tensor:
        """Return logits ``[B, classes]`` float32, from the earliest sound to the latest."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            seen, heard = self._features(clips)  # [B segments, T', D], [B segments, T'_a, D_a]
        step = self.sampler.step
        parts = [self.off.expand(len(clips), -1, -1)]
        for layer, features in ((self.video_token, seen), (self.audio_token, heard)):
            tokens = layer(features).unflatten(0, (len(clips), -1))  # [B, segments, T', width]
            places = seconds_code(self.segments, self.segments * self.stride * step, tokens)[:, None]
            moments = seconds_code(tokens.shape[2], self.length * step, tokens)
            parts += [(tokens + places + moments).flatten(1, 2), self.between.expand(len(clips), -1, -1)]
        return self.classifier(self.compare(torch.cat(parts[:-1], 1))[:, 0]).float()

    def _features(self, clips: Clips) -> tuple[Tensor, Tensor]:
        """Encode all segments of B clips: features over time of pictures and of sound."""
        device = clips.video.device
        starts = torch.arange(self.segments, device=device) * self.stride  # in frames
        frames = starts[:, None] + torch.arange(self.length, device=device)  # [segments, length]
        maps = self.encoder.maps(clips.video[:, 0][:, frames].flatten(0, 1))
        sounds = self.sounds(clips)  # [B, S]
        per_frame = self.sampler.step * self.audio_encoder.rate
        samples = (starts * per_frame).round().long()[:, None] + torch.arange(
            round(self.length * per_frame), device=device
        )
        heard = sounds[:, samples.clamp(max=sounds.shape[1] - 1)].flatten(0, 1)
        return maps.mean((3, 4)).mT, self.audio_encoder.maps(heard).mT

    def target(self, clips: Clips) -> Tensor:
        """Return the class of the offset, ``[B]``."""
        return (audio_delay(clips)[:, 0] / self.sampler.grid).round().long() + self.sampler.classes // 2

    def describe(self, clips: Clips) -> list[list[str]]:
        """Return by how much the sound is late or early."""
        return [[describe_offset(seconds) for seconds in row] for row in audio_delay(clips).tolist()]
