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
from avssl.methods.audiovisual.streams import AlignedClips, TwoStream, TwoStreamMethod, sound


class SyncNet(TwoStreamMethod):
    """Which sound of this video goes with this window of a few frames?

    All windows of a clip, one beginning with each frame, and the sounds of the same seconds are embedded by two streams
    (SyncNet, section 2). Each window must be nearer to its own sound than to the sounds of the other windows of the
    *same clip*, so that who speaks, or what the room sounds like, doesn't help: the multi-way matching of Perfect Match
    (section 2.2), in both directions, instead of SyncNet's loss over single pairs. The target is read off the times: a
    window's own sound is the one that begins when it does. Every sound is the right answer once and a wrong one for all
    other windows, and no stream knows where the clip begins or ends: neither alone gives the answer away.

    A trained network gives the offset of a recording: `avssl.evaluation.sync`.

    Metrics over windows: ``accuracy``, whether the nearest sound is the window's own, chance one over their number; and
    ``within_a_frame``, whether it begins within ``step`` of it, chance the share of the sounds that do.

    Args:
        encoder: gives a map for each window of a clip.
        audio_encoder: audio encoder.
        sampler: draws clips longer than a window.
        hidden: width of the heads' hidden layers.
        out: width of the common space (SyncNet: 256; Perfect Match: 512).
        moments: points in time that the head sees of a window's sound.
        temperature: by which squared distances are divided.

    Raises:
        ValueError: where the clips are too short to hold two windows.
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
        temperature: float = 0.2,
    ) -> None:
        super().__init__()
        self.encoder, self.audio_encoder = encoder, audio_encoder
        self.sampler = sampler or AlignedClips(frames=25, step=0.04)
        if self.sampler.frames <= encoder.window:
            raise ValueError(f"SyncNet: clips of {self.sampler.frames} frames hold no two windows of {encoder.window}")
        self.streams = TwoStream(encoder, audio_encoder, hidden, out, (1, moments), encoder.window, self.sampler.step)
        self.temperature = temperature

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Loss and metrics over the W windows of each of B·N clips."""
        assert clips.audio_times is not None
        step, window = self.sampler.step, self.encoder.window
        picture_starts = clips.times[..., : clips.times.shape[2] - window + 1].flatten(0, 1)  # [B N, W]
        windows = picture_starts.shape[1]
        seen = self.streams.slide(clips.video.flatten(0, 1))  # [B N, W, out]
        samples = sound(clips, self.audio_encoder).flatten(0, 1)  # [B N, S]
        starts = torch.arange(windows, device=samples.device) * step  # of the sounds, in the span
        heard = self.streams.hear(cut(samples, starts, self.streams.samples, self.streams.rate).flatten(0, 1))
        heard = heard.unflatten(0, (-1, windows))  # [B N, W, out]
        sound_starts = clips.audio_times[..., :1].flatten(0, 1) + starts  # [B N, W]
        late = (sound_starts[:, None] - picture_starts[:, :, None]).abs()  # [B N, W, W]
        target = late.argmin(2)  # [B N, W]
        scores = -torch.cdist(seen, heard).square() / self.temperature  # [B N, W, W]
        loss = F.cross_entropy(scores.flatten(0, 1), target.flatten())
        loss = (loss + F.cross_entropy(scores.mT.flatten(0, 1), late.argmin(1).flatten())) / 2
        nearest = scores.argmax(2)  # [B N, W]
        near = (late < 1.5 * step).to(scores.dtype)
        found = {
            "accuracy": (nearest == target).to(scores.dtype),
            "chance/accuracy": torch.full_like(nearest, 1 / windows, dtype=scores.dtype),
            "within_a_frame": near.gather(2, nearest[..., None])[..., 0],
            "chance/within_a_frame": near.mean(2),
        }
        return {"loss": loss, **{name: value.view(len(clips), -1).mean(1) for name, value in found.items()}}

    def describe(self, clips: Clips) -> list[list[str]]:
        """Which seconds are to be matched."""
        return [[f"windows from {row[0]:.2f} to {row[-1]:.2f} s" for row in video] for video in clips.times.tolist()]


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
