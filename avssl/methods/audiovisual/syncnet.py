"""SyncNet: audio-visual offsets from short windows.

J. S. Chung, A. Zisserman: Out of Time: Automated Lip Sync in the Wild. ACCV Workshops 2016.
S.-W. Chung, J. S. Chung, H.-G. Kang: Perfect Match: Improved Cross-modal Embeddings for Audio-visual Synchronisation.
ICASSP 2019.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.encoders import AudioEncoder, EarlyFusion, FrameWindows
from avssl.methods.audiovisual.channel import Channel
from avssl.methods.audiovisual.streams import AlignedClips, TwoStreamMethod
from avssl.methods.base import measured
from avssl.methods.losses import inner_products
from avssl.runtime.checks import check_ranges
from avssl.sync.network import TwoStream

APART = 0.2  # seconds from the right offset at which one is surely wrong


class SyncNet(TwoStreamMethod):
    """Predict the offset between the pictures and the sound of a clip.

    Two streams embed all windows of a clip, one starting at each frame, and the sounds of equally many windows
    (SyncNet, section 2). For each offset within reach, the similarity of windows and sounds that far apart is averaged
    over the clip, as SyncNet does to find an offset (section 3.2); a softmax over offsets must pick the clip's own.
    All offsets are of the *same clip*, so the speaker's identity and the room's acoustics don't help; and without
    padding in time, neither stream knows where the clip begins, so neither alone gives the offset away. The target
    follows from the times: the offset at which sounds start with their windows. A trained network finds the offset of
    a recording: `avssl.sync.offset`.

    ``pooled`` adds what the offsets of one clip don't teach: that a distance means the same in every clip. Each clip's
    own offset is compared with all offsets at least 0.2 s away from the right ones, of all clips of the batch, by the
    mean of log(1 + exp(difference / temperature)) (RankNet: C. Burges et al., Learning to Rank using Gradient Descent,
    ICML 2005, equation 3): a smooth form of one minus the area under the curve.

    Metrics: ``accuracy`` over offsets, chance one over their number; ``within_a_frame``, at most ``step`` seconds away,
    chance the fraction of offsets that are.

    Args:
        encoder: returns a map per window of a clip.
        sampler: draws clips longer than a window.
        hidden: size of the heads' hidden layers.
        out: dimension of the common space (SyncNet: 256; Perfect Match: 512).
        moments: time steps of a window's sound that the head sees.
        reach: largest offset in seconds, early and late (SyncNet: 15 frames, 0.6 s).
        temperature: divisor of the mean cosines.
        channel: changes the sounds in training; by default nothing does.
        pooled: weight of the comparison with the offsets of all clips, see above.
    """

    encoder: EarlyFusion | FrameWindows
    sampler: AlignedClips

    def __init__(
        self,
        encoder: EarlyFusion | FrameWindows,
        audio_encoder: AudioEncoder,
        sampler: AlignedClips | None = None,
        hidden: int = 512,
        out: int = 256,
        moments: int = 4,
        reach: float = 0.6,
        temperature: float = 0.03,
        channel: Channel | None = None,
        pooled: float = 0.0,
    ) -> None:
        check_ranges("SyncNet", {"pooled": pooled}, pooled="[0, inf)")
        super().__init__(encoder, audio_encoder, sampler or AlignedClips(num_frames=50, step=0.04))
        self.windows = self.sampler.num_frames - encoder.window + 1
        self.steps = round(reach / self.sampler.step)
        if self.windows <= self.steps:
            raise ValueError(
                f"SyncNet: {self.sampler.num_frames} frames hold {self.windows} windows of {encoder.window} frames, "
                f"too few for offsets of {self.steps} frames: lower reach, or raise sampler.num_frames"
            )
        self.streams = TwoStream(encoder, audio_encoder, hidden, out, (1, moments), encoder.window, self.sampler.step)
        self.temperature, self.channel, self.pooled = temperature, channel, pooled

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and metrics over B·N clips."""
        samples = self.sounds(clips)  # [B N, S]
        samples = samples if self.channel is None else self.channel(samples)
        seen = self.streams.embed_windows(clips.video.flatten(0, 1))  # [B N, W, out]
        starts = torch.arange(self.windows, device=samples.device) * self.sampler.step
        heard = self.streams.embed_along(samples, starts)  # [B N, W, out]
        scores = diagonal_means(inner_products(seen, heard), self.steps)  # [B N, O]
        errors = self.offset_errors(clips).flatten(0, 1).abs()  # [B N, O]
        target, answer = errors.argmin(1), scores.argmax(1)
        near = (errors < 1.5 * self.sampler.step).to(scores.dtype)
        loss = F.cross_entropy(scores / self.temperature, target)
        if self.pooled:
            far = errors >= APART - 0.5 * self.sampler.step
            loss = loss + self.pooled * ranking(scores / self.temperature, target, far)
        return measured(
            clips,
            loss,
            accuracy=(answer == target, 1 / scores.shape[1]),
            within_a_frame=(near.gather(1, answer[:, None]), near.mean(1)),
        )

    def offset_errors(self, clips: Clips) -> Tensor:
        """Return the seconds ``[B, N, O]`` from the start of a window to that of the sound at each candidate offset."""
        assert clips.audio_times is not None
        steps = torch.arange(-self.steps, self.steps + 1, device=clips.times.device) * self.sampler.step
        return clips.audio_times[..., :1] - clips.times[..., :1] + steps

    def describe(self, clips: Clips) -> list[list[str]]:
        """Return the seconds to be matched."""
        return [[f"windows from {row[0]:.2f} to {row[-1]:.2f} s" for row in video] for video in clips.times.tolist()]


def ranking(scores: Tensor, target: Tensor, far: Tensor) -> Tensor:
    """Return how often, softly, a wrong offset of any clip scores above a clip's own: log(1 + exp(difference)).

    Args:
        scores: ``[M, O]`` of offsets; higher is nearer.
        target: ``[M]`` index of the right one.
        far: ``[M, O]`` bool, those that are surely wrong.
    """
    right = scores.gather(1, target[:, None])  # [M, 1]
    lost = F.softplus(scores.flatten() - right)  # [M, M O]
    wrong = far.flatten().to(lost.dtype)
    return (lost * wrong).sum() / (len(scores) * wrong.sum()).clamp(min=1)


def diagonal_means(similarity: Tensor, steps: int) -> Tensor:
    """Average ``[B, W, W]`` (window i, sound j) where j - i is -steps, ..., steps: ``[B, 2 steps + 1]``."""
    offsets = range(-steps, steps + 1)
    return torch.stack([similarity.diagonal(offset, 1, 2).mean(1) for offset in offsets], 1)
