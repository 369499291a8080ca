"""Time-contrastive networks (TCN), single-view and multi-view.

P. Sermanet, C. Lynch, Y. Chebotar, J. Hsu, E. Jang, S. Schaal, S. Levine: Time-Contrastive Networks: Self-Supervised
Learning from Video. ICRA 2018. https://arxiv.org/abs/1704.06888
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.clips import Clips, ClipTimes
from avssl.data.samplers import TINY, random_start
from avssl.encoders import Encoder
from avssl.media import VideoInfo
from avssl.methods.base import Method, require_frame_encoder
from avssl.methods.heads import fully_connected
from avssl.methods.losses import Negatives, lifted, n_pairs, squared_distances, triplet


@dataclass(frozen=True)
class Moments:
    """Anchors, evenly spread over a stretch of the video, and a positive for each of them, as two clips.

    Single-view: the positive is drawn from a window round the anchor. Multi-view: it comes from another camera, at the
    same moment where the window is 0.

    Args:
        num_frames: anchors (T).
        step: seconds between two anchors.
        window: longest time between frames that count as the same (the paper, single-view: 0.2 s).
        margin: shortest time between frames that count as different (the paper: twice the window).
        views: synchronised cameras, 1 or 2.

    Raises:
        ValueError: where the settings leave an anchor without a negative, or there are more cameras than two.
    """

    num_frames: int = 16
    step: float = 0.2
    window: float = 0.2
    margin: float = 0.4
    views: int = 1

    def __post_init__(self) -> None:
        if self.views not in (1, 2):
            raise ValueError(f"Moments.views: expected 1 or 2 cameras, got {self.views}")
        if not self.window <= self.margin < self.step * (self.num_frames // 2) - self.window:
            raise ValueError(
                f"{self}: the margin must lie between the window and half of the stretch of {self.num_frames} frames, "
                "lest the frame in the middle have no negative: ask for more or farther frames"
            )

    @property
    def seconds(self) -> float:
        """The anchors, and the window on both sides."""
        return (self.num_frames - 1) * self.step + 2 * self.window + TINY

    def __call__(self, info: VideoInfo, rng: torch.Generator) -> ClipTimes:
        """Times ``[2, T]``: anchors and positives."""
        start = random_start(info, self.seconds, rng) + self.window
        anchors = start + torch.arange(self.num_frames, dtype=torch.float64) * self.step
        away = (2 * torch.rand(self.num_frames, generator=rng, dtype=torch.float64) - 1) * self.window
        return ClipTimes(torch.stack([anchors, anchors + away]), view=torch.tensor([0, self.views - 1]))


class TCN(Method):
    """Which frames show the same moment?

    Frames of one video that are at most ``window`` apart, or of two cameras at the same moment, belong together; frames
    of that video that are more than ``margin`` apart do not, however alike they look (figures 2 and 3, equation 1).
    Both are read off the timestamps. The paper's head finds places by a spatial softmax over maps of 35 x 35; a small
    encoder's maps are too coarse for that, and a fully connected layer over them keeps where things are instead.

    Metrics, over the nearest neighbours that the anchors of a video have among its positives: ``aligned``, one minus
    the paper's alignment error, which is how far off they are in time as a share of the stretch (section 4.1.1);
    chance is what a neighbour drawn at random reaches. ``ordered``, the share of pairs of anchors whose neighbours are
    in the same order in time, equal ones counting half: (1 + tau) / 2 of Kendall's tau (as Dwibedi et al., CVPR 2019,
    section 5.2); chance 1/2.

    Args:
        encoder: frame encoder.
        sampler: draws anchors and positives.
        loss: ``"triplet"``, ``"n-pairs"`` or ``"lifted"`` (appendix).
        choice: of the negative of a triplet: ``"semi-hard"`` or ``"hard"``.
        hidden: width of the head's hidden layer.
        grid: height and width to which the maps are pooled before it.
        out: width of the embedding (the paper: 32).
        alpha: margin between squared distances in the triplet loss (the authors' code: 0.2).

    Raises:
        ValueError: for an encoder that mixes frames.
    """

    sampler: Moments

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
        super().__init__()
        require_frame_encoder(self, encoder)
        self.encoder = encoder
        self.sampler = sampler or Moments()
        self.loss, self.choice, self.alpha = loss, choice, alpha
        self.head = nn.Sequential(fully_connected(encoder.num_features, hidden, grid), nn.Linear(hidden, out))

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Loss and metrics over B videos of 2 T frames."""
        maps = self.encoder.maps(clips.video.flatten(0, 1))  # [B 2, D, T, H', W']
        frames = self.head(maps.transpose(1, 2).flatten(0, 1)).float()  # [B 2 T, out]
        frames = frames.unflatten(0, (len(clips), 2, -1))  # [B, 2, T, out]
        if self.loss == "triplet":
            frames = F.normalize(frames, dim=3)
        times = clips.times
        nearest = squared_distances(frames[:, 0], frames[:, 1]).argmin(2)  # [B, T]
        found = times[:, 1].gather(1, nearest)  # [B, T] seconds
        stretch = times[:, 0].amax(1) - times[:, 0].amin(1)  # [B]
        apart = (times[:, 0, :, None] - times[:, 1, None, :]).abs()  # [B, T, T]
        return {
            "loss": self._loss(frames, times),
            "aligned": (1 - (found - times[:, 0]).abs().mean(1) / stretch).float(),
            "chance/aligned": (1 - apart.mean((1, 2)) / stretch).float(),
            "ordered": ((1 + kendall(times[:, 0], found)) / 2).float(),
            "chance/ordered": torch.full((len(clips),), 0.5, device=frames.device),
        }

    def _loss(self, frames: Tensor, times: Tensor) -> Tensor:
        """``[B, 2, T, out]`` embedded frames and their ``[B, 2, T]`` seconds to the loss."""
        if self.loss == "n-pairs":
            apart = (times[:, 0, :, None] - times[:, 1, None, :]).abs()
            return n_pairs(frames[:, 0], frames[:, 1], apart > self.sampler.margin + TINY)
        positive, negative = relations(times.flatten(1), self.sampler.window, self.sampler.margin)
        if self.loss == "lifted":
            return lifted(frames.flatten(1, 2), positive, negative)
        return triplet(frames.flatten(1, 2), positive, negative, self.alpha, self.choice)

    def describe(self, clips: Clips) -> list[list[str]]:
        """What the two clips are."""
        other = "the same moments, seen by another camera" if self.sampler.views == 2 else "frames near those above"
        return [["anchors", other]] * len(clips)


def relations(times: Tensor, window: float, margin: float) -> tuple[Tensor, Tensor]:
    """``[B, M]`` seconds to ``[B, M, M]`` bool: which other frames show the same moment, which another."""
    apart = (times[:, :, None] - times[:, None, :]).abs()
    itself = torch.eye(times.shape[1], dtype=torch.bool, device=times.device)
    return (apart <= window + TINY) & ~itself, apart > margin + TINY


def kendall(times: Tensor, found: Tensor) -> Tensor:
    """Kendall's tau (a) between two orders: ``[B, T]`` and ``[B, T]`` values to ``[B]`` in [-1, 1]."""
    signs = [(values[:, :, None] - values[:, None, :]).sign() for values in (times, found)]  # [B, T, T]
    count = times.shape[1]
    return (signs[0] * signs[1]).sum((1, 2)) / (count * (count - 1))
