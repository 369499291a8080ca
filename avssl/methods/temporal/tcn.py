"""Time-contrastive networks (TCN), single-view and multi-view.

P. Sermanet, C. Lynch, Y. Chebotar, J. Hsu, E. Jang, S. Schaal, S. Levine: Time-Contrastive Networks: Self-Supervised
Learning from Video. ICRA 2018. https://arxiv.org/abs/1704.06888
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.clips import Clips, ClipTimes
from avssl.data.samplers import TINY, check_sampler, random_start
from avssl.encoders import Encoder
from avssl.media import VideoInfo
from avssl.methods.base import Method, measured
from avssl.methods.heads import fully_connected
from avssl.methods.losses import Negatives, lifted, n_pairs, squared_distances, triplet
from avssl.methods.temporal.common import frame_vectors


@dataclass(frozen=True)
class Moments:
    """Evenly spaced anchors and a positive for each of them, as two clips.

    The positive is drawn from a window around the anchor (0: the same moment), multi-view from another camera.

    Args:
        num_frames: anchors per video (T).
        step: seconds between consecutive anchors.
        window: longest time between frames that count as the same (the paper, single-view: 0.2 s).
        margin: shortest time between frames that count as different (the paper: twice the window).
        views: synchronised cameras, 1 or 2.
    """

    num_frames: int = 16
    step: float = 0.2
    window: float = 0.2
    margin: float = 0.4
    views: int = 1

    def __post_init__(self) -> None:
        check_sampler(self)
        if self.views not in (1, 2):
            raise ValueError(f"Moments.views: expected 1 or 2 cameras, got {self.views}")
        if not self.window <= self.margin < self.step * (self.num_frames // 2) - self.window:
            raise ValueError(f"{self}: an anchor can have no negative: raise num_frames or step, or lower margin")

    @property
    def seconds(self) -> float:
        """Length of the stretch of anchors plus the window on both sides."""
        return (self.num_frames - 1) * self.step + 2 * self.window + TINY

    def __call__(self, info: VideoInfo, rng: torch.Generator) -> ClipTimes:
        """Draw times ``[2, T]``: anchors and positives."""
        start = random_start(info, self.seconds, rng) + self.window
        anchors = start + torch.arange(self.num_frames, dtype=torch.float64) * self.step
        away = (2 * torch.rand(self.num_frames, generator=rng, dtype=torch.float64) - 1) * self.window
        return ClipTimes(torch.stack([anchors, anchors + away]), view=torch.tensor([0, self.views - 1]))


class TCN(Method):
    """Pull frames of the same moment together and push other frames of the video away.

    Frames of one video at most ``window`` apart, or of two cameras at the same moment, are positives; frames of that
    video more than ``margin`` apart are negatives, however alike they look (figures 2 and 3, equation 1). Both are read
    off the timestamps. The paper's head is a spatial softmax over maps of 35 x 35; here, on coarser maps, it is a fully
    connected layer.

    Metrics, for each anchor's nearest neighbour among the positives of its video: ``aligned``, one minus the paper's
    alignment error, the error in time as a fraction of the stretch (section 4.1.1), with chance that of a random
    neighbour; ``ordered``, the share of pairs of anchors whose neighbours are in the same order in time, ties counting
    half: (1 + tau) / 2 of Kendall's tau (as Dwibedi et al., CVPR 2019, section 5.2), chance 1/2.

    Args:
        loss: ``"triplet"``, ``"n-pairs"`` or ``"lifted"`` (appendix).
        choice: how a triplet's negative is chosen: ``"semi-hard"`` or ``"hard"``.
        hidden: width of the head's hidden layer.
        grid: height and width to which the maps are pooled before it.
        out: width of the embedding (the paper: 32).
        alpha: margin between squared distances in the triplet loss (the authors' code: 0.2).
    """

    sampler: Moments
    frames_only = True

    def __init__(
        self,
        encoder: Encoder,
        sampler: Moments | None = None,
        loss: Literal["triplet", "n-pairs", "lifted"] = "triplet",
        choice: Negatives = "semi-hard",
        hidden: int = 256,
        grid: int = 3,
        out: int = 32,
        alpha: float = 0.2,
    ) -> None:
        super().__init__(encoder, sampler or Moments())
        self.loss, self.choice, self.alpha = loss, choice, alpha
        self.head = nn.Sequential(fully_connected(encoder.num_features, hidden, grid), nn.Linear(hidden, out))

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and metrics over B videos of 2 T frames."""
        frames = frame_vectors(self.encoder, self.head, clips.video.flatten(0, 1)).float()  # [B 2, T, out]
        frames = rearrange(frames, "(b two) t d -> b two t d", two=2)
        if self.loss == "triplet":
            frames = F.normalize(frames, dim=3)
        times = clips.times
        nearest = squared_distances(frames[:, 0], frames[:, 1]).argmin(2)  # [B, T]
        found = times[:, 1].gather(1, nearest)  # [B, T] seconds
        stretch = times[:, 0].amax(1) - times[:, 0].amin(1)  # [B]
        apart = (times[:, 0, :, None] - times[:, 1, None, :]).abs()  # [B, T, T]
        return measured(
            clips,
            self._loss(frames, times),
            aligned=(1 - (found - times[:, 0]).abs().mean(1) / stretch, 1 - apart.mean((1, 2)) / stretch),
            ordered=((1 + kendall(times[:, 0], found)) / 2, 0.5),
        )

    def _loss(self, frames: Tensor, times: Tensor) -> Tensor:
        """Return the loss of embeddings ``[B, 2, T, out]`` at times ``[B, 2, T]``."""
        if self.loss == "n-pairs":
            apart = (times[:, 0, :, None] - times[:, 1, None, :]).abs()
            return n_pairs(frames[:, 0], frames[:, 1], apart > self.sampler.margin + TINY)
        positive, negative = relations(times.flatten(1), self.sampler.window, self.sampler.margin)
        if self.loss == "lifted":
            return lifted(frames.flatten(1, 2), positive, negative)
        return triplet(frames.flatten(1, 2), positive, negative, self.alpha, self.choice)

    def describe(self, clips: Clips) -> list[list[str]]:
        """Name the roles of the two clips."""
        other = "the same moments, seen by another camera" if self.sampler.views == 2 else "frames near those above"
        return [["anchors", other]] * len(clips)


def relations(times: Tensor, window: float, margin: float) -> tuple[Tensor, Tensor]:
    """Return which other frames are positives and which are negatives: ``[B, M]`` seconds to two ``[B, M, M]`` bool."""
    apart = (times[:, :, None] - times[:, None, :]).abs()
    itself = torch.eye(times.shape[1], dtype=torch.bool, device=times.device)
    return (apart <= window + TINY) & ~itself, apart > margin + TINY


def kendall(times: Tensor, found: Tensor) -> Tensor:
    """Return Kendall's tau-a of two sequences of values ``[B, T]``: ``[B]`` in [-1, 1]."""
    signs = [(values[:, :, None] - values[:, None, :]).sign() for values in (times, found)]  # [B, T, T]
    count = times.shape[1]
    return (signs[0] * signs[1]).sum((1, 2)) / (count * (count - 1))
