"""SyncNet: offsets between sound and picture from short windows.

J. S. Chung, A. Zisserman: Out of Time: Automated Lip Sync in the Wild. ACCV Workshops 2016.
S.-W. Chung, J. S. Chung, H.-G. Kang: Perfect Match: Improved Cross-modal Embeddings for Audio-visual Synchronisation.
ICASSP 2019.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.encoders import AudioEncoder, EarlyFusion
from avssl.methods.audiovisual.streams import AlignedClips, TwoStreamMethod, sound
from avssl.methods.base import a_video
from avssl.methods.losses import products
from avssl.sync.network import TwoStream


class SyncNet(TwoStreamMethod):
    """By how much are these pictures and this sound apart?

    All windows of a clip, one beginning with each frame, and the sounds of equally many windows are embedded by two
    streams (SyncNet, section 2). For each offset within reach, the similarity of windows and sounds that are so far
    apart is averaged over the clip, which is how SyncNet finds an offset (section 3.2); the offset of the clip must
    come out on top, by a softmax over offsets. SyncNet trains on single pairs with a margin instead, Perfect Match
    (section 2.2) on a softmax for each window; but many windows have nothing to match, and an average need not be right
    for each. All offsets are of the *same clip*, so that who speaks, or what the room sounds like, doesn't help; and
    since nothing is padded in time, no stream knows where the clip begins: neither alone gives the offset away.

    The target is read off the times: the offset at which sounds begin with their windows.

    A trained network gives the offset of a recording: `avssl.sync.offset`.

    Metrics: ``accuracy`` over offsets, chance one over their number; ``within_a_frame``, the answer at most ``step``
    seconds away, chance the share of offsets that are.

    Args:
        encoder: gives a map for each window of a clip.
        audio_encoder: audio encoder.
        sampler: draws clips longer than a window.
        hidden: width of the heads' hidden layers.
        out: width of the common space (SyncNet: 256; Perfect Match: 512).
        moments: points in time that the head sees of a window's sound.
        reach: seconds of the largest offset, early and late (SyncNet looks 15 frames, 0.6 s, far).
        temperature: by which mean cosines are divided.

    Raises:
        ValueError: where a clip holds fewer windows than there are steps in ``reach``.
    """

    encoder: EarlyFusion
    sampler: AlignedClips

    def __init__(
        self,
        encoder: EarlyFusion,
        audio_encoder: AudioEncoder,
        sampler: AlignedClips | None = None,
        hidden: int = 512,
        out: int = 256,
        moments: int = 4,
        reach: float = 0.6,
        temperature: float = 0.03,
    ) -> None:
        super().__init__()
        self.encoder, self.audio_encoder = encoder, audio_encoder
        self.sampler = sampler or AlignedClips(num_frames=50, step=0.04)
        self.windows = self.sampler.num_frames - encoder.window + 1
        self.steps = round(reach / self.sampler.step)
        if self.windows <= self.steps:
            raise ValueError(
                f"SyncNet: {self.sampler.num_frames} frames hold {self.windows} windows of {encoder.window} frames, "
                f"too few for offsets of {self.steps} frames: lower reach, or raise sampler.num_frames"
            )
        self.streams = TwoStream(encoder, audio_encoder, hidden, out, (1, moments), encoder.window, self.sampler.step)
        self.temperature = temperature

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Loss and metrics over B·N clips."""
        samples = sound(clips, self.audio_encoder).flatten(0, 1)  # [B N, S]
        seen = self.streams.embed_windows(clips.video.flatten(0, 1))  # [B N, W, out]
        starts = torch.arange(self.windows, device=samples.device) * self.sampler.step
        heard = self.streams.embed_audio(cut(samples, starts, self.streams.samples, self.streams.rate).flatten(0, 1))
        scores = along_diagonals(products(seen, heard.unflatten(0, (-1, self.windows))), self.steps)  # [B N, O]
        away = self.away(clips).flatten(0, 1).abs()  # [B N, O]
        target, answer = away.argmin(1), scores.argmax(1)
        near = (away < 1.5 * self.sampler.step).to(scores.dtype)
        found = {
            "accuracy": (answer == target).to(scores.dtype),
            "chance/accuracy": torch.full_like(target, 1 / scores.shape[1], dtype=scores.dtype),
            "within_a_frame": near.gather(1, answer[:, None]),
            "chance/within_a_frame": near.mean(1),
        }
        loss = F.cross_entropy(scores / self.temperature, target)
        return {"loss": loss, **{name: a_video(value, clips) for name, value in found.items()}}

    def away(self, clips: Clips) -> Tensor:
        """``[B, N, O]`` seconds from the start of a window to that of the sound which each offset compares it with."""
        assert clips.audio_times is not None
        steps = torch.arange(-self.steps, self.steps + 1, device=clips.times.device) * self.sampler.step
        return clips.audio_times[..., :1] - clips.times[..., :1] + steps

    def describe(self, clips: Clips) -> list[list[str]]:
        """Which seconds are to be matched."""
        return [[f"windows from {row[0]:.2f} to {row[-1]:.2f} s" for row in video] for video in clips.times.tolist()]


def along_diagonals(similarity: Tensor, steps: int) -> Tensor:
    """``[B, W, W]`` of window i and sound j to ``[B, 2 steps + 1]``: the mean where j - i is -steps, ..., steps."""
    offsets = range(-steps, steps + 1)
    return torch.stack([similarity.diagonal(offset, 1, 2).mean(1) for offset in offsets], 1)


def cut(samples: Tensor, starts: Tensor, length: int, rate: int) -> Tensor:
    """Pieces of sounds.

    Args:
        samples: ``[B, S]``.
        starts: ``[W]`` seconds from the first sample.
        length: samples of a piece.
        rate: samples a second.

    Returns:
        ``[B, W, length]``.
    """
    place = (starts * rate).round().long()[:, None] + torch.arange(length, device=samples.device)  # [W, length]
    return samples[:, place]
