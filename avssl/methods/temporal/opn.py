"""Order prediction network (OPN).

H.-Y. Lee, J.-B. Huang, M. Singh, M.-H. Yang: Unsupervised Representation Learning by Sorting Sequences. ICCV 2017.
https://arxiv.org/abs/1708.01246
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from math import comb

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.clips import Clips, ClipTimes
from avssl.data.samplers import TINY, check_sampler, random_start
from avssl.encoders import Encoder
from avssl.media import VideoInfo
from avssl.methods.base import Method
from avssl.methods.disguise import random_crops, replicate_channel
from avssl.methods.heads import fully_connected
from avssl.methods.losses import classification
from avssl.methods.temporal.common import frame_vectors, order_index, pair_features


@dataclass(frozen=True)
class ShuffledFrames:
    """Tuples of frames in a random order, from windows with much motion (section 3.2).

    Args:
        tuples: tuples per video (N), drawn independently.
        num_frames: frames per tuple (T; the paper: 4).
        gap_min: shortest time between consecutive frames, in seconds.
        gap_max: longest time between consecutive frames, in seconds.
        motion_weighted: prefer windows with much motion, as the paper does.
    """

    tuples: int = 1
    num_frames: int = 4
    gap_min: float = 0.2
    gap_max: float = 0.6
    motion_weighted: bool = True

    def __post_init__(self) -> None:
        check_sampler(self)

    @property
    def seconds(self) -> float:
        """Length of a tuple with the longest gaps."""
        return (self.num_frames - 1) * self.gap_max + TINY

    def __call__(self, info: VideoInfo, rng: torch.Generator) -> ClipTimes:
        """Draw times ``[N, T]`` in the order shown."""
        return ClipTimes(torch.stack([self._tuple(info, rng) for _ in range(self.tuples)]))

    def _tuple(self, info: VideoInfo, rng: torch.Generator) -> Tensor:
        share = torch.rand(self.num_frames - 1, generator=rng, dtype=torch.float64)
        since = (self.gap_min + share * (self.gap_max - self.gap_min)).cumsum(0)  # [T - 1]
        start = random_start(info, since[-1].item() + TINY, rng, self.motion_weighted)
        times = start + F.pad(since, (1, 0))
        return times[torch.randperm(self.num_frames, generator=rng)]


class OPN(Method):
    """Predict the order of shuffled frames, up to reversal.

    The frames pass one by one through one network, every pair of features through one shared layer, and all pairs
    together predict the order (section 3.3, figure 3). An order and its reversal are one class, as many actions look
    right both ways: T! / 2 classes. The target is read off the timestamps. Against trivial solutions (section 3.2),
    each frame is cropped at a random place, and all its channels are replaced by one of them (channel splitting).

    Metric: ``accuracy`` over the orders; chance is 2 / T!.

    The paper's network is an AlexNet on patches of 80 pixels around much motion. Here it is any frame encoder, on whole
    transformed frames; one fully connected layer over its maps replaces fc6.

    Args:
        jitter: largest shift of a frame's crop from the centre, in pixels (the paper: 5).
        split: apply channel splitting.
        hidden: width of the layer over a frame's maps (the authors' code: 1024).
        pair: width of the layer over two frames (the authors' code: 512).
        grid: height and width to which the maps are pooled before the first layer.
        dropout: rate after both layers (the authors' code: 0.5).
    """

    orders: Tensor
    sampler: ShuffledFrames
    frames_only = True

    def __init__(
        self,
        encoder: Encoder,
        sampler: ShuffledFrames | None = None,
        jitter: int = 5,
        split: bool = True,
        hidden: int = 1024,
        pair: int = 512,
        grid: int = 4,
        dropout: float = 0.5,
    ) -> None:
        super().__init__(encoder, sampler or ShuffledFrames())
        self.jitter, self.split = jitter, split
        count = self.sampler.num_frames
        orders = [order for order in permutations(range(count)) if order[0] < order[-1]]  # no reversals
        self.register_buffer("orders", torch.tensor(orders), persistent=False)  # [T! / 2, T]
        self.frame = nn.Sequential(fully_connected(encoder.num_features, hidden, grid), nn.Dropout(dropout))
        self.pair = nn.Sequential(nn.Linear(2 * hidden, pair), nn.ReLU(), nn.Dropout(dropout))
        self.classifier = nn.Linear(pair * comb(count, 2), len(orders))

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and accuracy over B·N tuples."""
        frames = frame_vectors(self.encoder, self.frame, self.disguised(clips.video.flatten(0, 1)))  # [B N, T, hidden]
        scores = self.classifier(pair_features(self.pair, frames)).float()  # [B N, T! / 2]
        return classification(scores, self.order_shown(clips.times).flatten(), clips)

    def describe(self, clips: Clips) -> list[list[str]]:
        """Name the temporal rank of each frame, up to reversal."""
        ranks = self.orders[self.order_shown(clips.times)] + 1  # [B, N, T]
        return [["order " + " ".join(map(str, clip)) for clip in video] for video in ranks.tolist()]

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """Return the input frames."""
        return {"seen": self.disguised(clips.rgb.flatten(0, 1)).unflatten(0, clips.rgb.shape[:2])}

    def disguised(self, video: Tensor) -> Tensor:
        """Shift and split frames: ``[M, T, 3, H, W]`` to ``[M, T, 3, H - 2 jitter, W - 2 jitter]``."""
        height, width = (side - 2 * self.jitter for side in video.shape[-2:])
        frames = random_crops(video.flatten(0, 1), height, width)  # [M T, 3, h, w]
        return (replicate_channel(frames) if self.split else frames).unflatten(0, video.shape[:2])

    def order_shown(self, times: Tensor) -> Tensor:
        """Return the row of ``orders`` for the frames' ranks, up to reversal: ``[..., T]`` seconds to ``[...]``."""
        ranks = times.argsort(-1).argsort(-1)
        return order_index(torch.where(ranks[..., :1] < ranks[..., -1:], ranks, ranks.flip(-1)), self.orders)
