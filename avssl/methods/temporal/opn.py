"""Order prediction network (OPN).

H.-Y. Lee, J.-B. Huang, M. Singh, M.-H. Yang: Unsupervised Representation Learning by Sorting Sequences. ICCV 2017.
https://arxiv.org/abs/1708.01246
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, permutations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.clips import Clips, ClipTimes
from avssl.data.samplers import TINY, random_start
from avssl.encoders import Encoder
from avssl.media import VideoInfo
from avssl.methods.base import Method, a_video, needs_frames
from avssl.methods.disguise import one_channel, random_crops
from avssl.methods.heads import fully_connected
from avssl.pixels import denormalise


@dataclass(frozen=True)
class ShuffledFrames:
    """Tuples of frames in a random order, from windows in which much moves (section 3.2).

    Args:
        tuples: tuples a video (N), each drawn on its own.
        num_frames: frames of a tuple (T; the paper: 4).
        gap_min: shortest time between two frames that follow each other, in seconds.
        gap_max: longest.
        motion_weighted: prefer windows in which much moves, as the paper does.
    """

    tuples: int = 1
    num_frames: int = 4
    gap_min: float = 0.2
    gap_max: float = 0.6
    motion_weighted: bool = True

    @property
    def seconds(self) -> float:
        """Room for the longest gaps."""
        return (self.num_frames - 1) * self.gap_max + TINY

    def __call__(self, info: VideoInfo, rng: torch.Generator) -> ClipTimes:
        """Times ``[N, T]`` in the order in which the frames are shown."""
        return ClipTimes(torch.stack([self._tuple(info, rng) for _ in range(self.tuples)]))

    def _tuple(self, info: VideoInfo, rng: torch.Generator) -> Tensor:
        share = torch.rand(self.num_frames - 1, generator=rng, dtype=torch.float64)
        since = (self.gap_min + share * (self.gap_max - self.gap_min)).cumsum(0)  # [T - 1]
        start = random_start(info, since[-1].item() + TINY, rng, self.motion_weighted)
        times = start + F.pad(since, (1, 0))
        return times[torch.randperm(self.num_frames, generator=rng)]


class OPN(Method):
    """In which order were these frames shown, or filmed backwards?

    The frames pass one by one through one network. Features of every pair of frames go through one shared layer, and
    all pairs together predict the order (section 3.3, figure 3). An order and its reversal are one class, as many
    actions look right both ways: T! / 2 of them. The target is read off the timestamps.

    Against trivial solutions (section 3.2), each frame is cut out at a place of its own, and all channels of a frame
    are replaced by one of them (channel splitting).

    Metric: ``accuracy`` over the orders; chance is 2 / T!.

    The paper's network is an AlexNet on patches of 80 pixels around much motion. Here the convolutional part is any
    frame encoder, on whatever the transform cuts out; one fully connected layer over its maps stands in for fc6.

    Args:
        encoder: frame encoder.
        sampler: draws the tuples.
        jitter: pixels by which frames of a tuple may be shifted against the middle (the authors' code: 5 of 80).
        split: channel splitting.
        hidden: width of the layer over one frame's maps (the authors' code: 1024).
        pair: width of the layer over two frames (the authors' code: 512).
        grid: height and width to which the maps are pooled before the first layer.
        dropout: after both layers (the authors' code: 0.5).

    Raises:
        ValueError: for an encoder that mixes frames.
    """

    orders: Tensor

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
        super().__init__()
        needs_frames(self, encoder)
        self.encoder, self.jitter, self.split = encoder, jitter, split
        self.sampler = sampler or ShuffledFrames()
        count = self.sampler.num_frames
        orders = [order for order in permutations(range(count)) if order[0] < order[-1]]  # one of each two reversals
        self.register_buffer("orders", torch.tensor(orders), persistent=False)  # [T! / 2, T]
        self.pairs = list(combinations(range(count), 2))
        self.frame = nn.Sequential(fully_connected(encoder.num_features, hidden, grid), nn.Dropout(dropout))
        self.pair = nn.Sequential(nn.Linear(2 * hidden, pair), nn.ReLU(), nn.Dropout(dropout))
        self.classifier = nn.Linear(pair * len(self.pairs), len(orders))

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Loss and accuracy over B·N tuples."""
        maps = self.encoder.maps(self.disguised(clips.video.flatten(0, 1)))  # [B N, D, T, H', W']
        frames = self.frame(maps.transpose(1, 2).flatten(0, 1)).unflatten(0, (maps.shape[0], -1))  # [B N, T, hidden]
        pairs = [self.pair(frames[:, [i, j]].flatten(1)) for i, j in self.pairs]  # P x [B N, pair]
        scores = self.classifier(torch.cat(pairs, 1)).float()  # [B N, T! / 2]
        target = self.order_shown(clips.times).flatten()
        return {
            "loss": F.cross_entropy(scores, target),
            "accuracy": a_video((scores.argmax(1) == target).float(), clips),
            "chance/accuracy": torch.full((len(clips),), 1 / len(self.orders), device=scores.device),
        }

    def describe(self, clips: Clips) -> list[list[str]]:
        """Which place each frame has in time, up to reversal."""
        ranks = self.orders[self.order_shown(clips.times)] + 1  # [B, N, T]
        return [["order " + " ".join(map(str, clip)) for clip in video] for video in ranks.tolist()]

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """What the network sees."""
        seen = self.disguised(clips.video.flatten(0, 1))  # [B N, T, 3, h, w]
        return {"seen": denormalise(seen).unflatten(0, clips.video.shape[:2])}

    def disguised(self, video: Tensor) -> Tensor:
        """``[M, T, 3, H, W]`` to ``[M, T, 3, H - 2 jitter, W - 2 jitter]``: shifted, and in one channel."""
        height, width = (side - 2 * self.jitter for side in video.shape[-2:])
        frames = random_crops(video.flatten(0, 1), height, width)  # [M T, 3, h, w]
        return (one_channel(frames) if self.split else frames).unflatten(0, video.shape[:2])

    def order_shown(self, times: Tensor) -> Tensor:
        """``[..., T]`` seconds to ``[...]``: which row of ``orders`` the frames' ranks are, forwards or backwards."""
        ranks = times.argsort(-1).argsort(-1)
        ranks = torch.where(ranks[..., :1] < ranks[..., -1:], ranks, ranks.flip(-1))
        return (ranks[..., None, :] == self.orders).all(-1).long().argmax(-1)
