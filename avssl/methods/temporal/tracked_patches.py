"""Unsupervised learning of visual representations by tracking patches.

X. Wang, A. Gupta: Unsupervised Learning of Visual Representations using Videos. ICCV 2015.
https://arxiv.org/abs/1505.00687
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import roi_align

from avssl.clips import Clips
from avssl.data.samplers import RandomClips
from avssl.encoders import Encoder
from avssl.labels import Tracks
from avssl.methods.base import Method, measured
from avssl.methods.counters import HostNumber
from avssl.methods.distributed import gather, shared_mean
from avssl.methods.heads import projection
from avssl.methods.losses import inner_products


class TrackedPatches(Method):
    """Pull a moving patch and itself some frames later together, and push patches of other videos away.

    The labeller follows a window on what moves (`Tracks`). The distance of two patches is one minus the cosine of their
    vectors; a tracked patch has to be nearer than any patch of another video by a margin (section 4.2, equation 3).
    Both patches of a track are anchors. At first the negatives are drawn at random; for the rest of the run, half of
    them are drawn and half are the hardest of the batch (section 4.3: the four of the largest loss); only those that
    violate the margin count. Clips without a track count in neither loss nor metric.

    Metric: ``nearest``, the tracked patch is nearer to the first patch than that of any other video in the batch.
    Chance is one over their number. Colours and position alone reach far more (`patch_colours`, `patch_places`):
    ``benchmarks/patches.py`` prints what they do.

    The paper's network is two AlexNets that share weights, with 1024 outputs; its patches, 227 pixels wide, come from
    eight million tracks of 30 frames.

    Args:
        size: height and width in pixels to which patches are scaled.
        width: dimensions of the vectors (paper: 1024).
        hidden: width of the head's hidden layer.
        margin: M (paper: 0.5).
        negatives: K, of each kind (paper: 4).
        random_until: share of the run in which all negatives are random (paper: 10 epochs).
    """

    sampler: RandomClips
    frames_only = True

    def __init__(
        self,
        encoder: Encoder,
        sampler: RandomClips | None = None,
        labeller: Tracks | None = None,
        size: int = 64,
        width: int = 128,
        hidden: int = 256,
        margin: float = 0.5,
        negatives: int = 4,
        random_until: float = 0.3,
    ) -> None:
        super().__init__(encoder, sampler or RandomClips(num_frames=8, step=0.12, motion_weighted=True))
        self.labeller = labeller or Tracks()
        self.size, self.margin, self.negatives, self.random_until = size, margin, negatives, random_until
        self.head = projection(encoder.num_features, hidden, width)
        self.progress = HostNumber(self, "done", 0.0)  # share of the run

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and metric over B·N pairs of patches."""
        pairs, known = self.patches(clips)
        vectors = self.embed(pairs)  # [M, 2, width]
        video = torch.arange(len(clips), device=known.device).repeat_interleave(clips.video.shape[1])  # [M]
        apart = 1 - inner_products(vectors[:, 0], vectors[:, 1])  # [M, M], for the metric
        right, chance = nearest(apart, known, video)
        return measured(clips, self._loss(vectors, known, video), nearest=(right, chance))

    def patches(self, clips: Clips) -> tuple[Tensor, Tensor]:
        """Cut the patches of all tracks: ``[M, 2, 3, size, size]`` normalised, and ``[M]`` bool, whether there is one.

        Raises:
            ValueError: if the clips have no boxes.
        """
        if clips.target is None:
            raise ValueError("TrackedPatches needs the boxes of its labeller: the clips have no target")
        boxes = clips.target.flatten(0, 1)  # [M, 2, 4]
        ends = clips.video[:, :, :: clips.video.shape[2] - 1].flatten(0, 1)  # [M, 2, 3, H, W], first and last
        return cut(ends, boxes, self.size), boxes[:, 0, 2] > boxes[:, 0, 0]

    def embed(self, pairs: Tensor) -> Tensor:
        """Return unit vectors ``[M, 2, width]`` of patches ``[M, 2, 3, size, size]``."""
        vectors = self.head(self.encoder(pairs.flatten(0, 1)[:, None]))  # [2 M, width]
        return F.normalize(vectors.float(), dim=1).unflatten(0, (-1, 2))

    def _loss(self, vectors: Tensor, known: Tensor, video: Tensor) -> Tensor:
        """Return the mean over triplets that violate the margin, of ``[M, 2, width]`` vectors of ``[M]`` videos."""
        anchors, partners = vectors.flatten(0, 1), vectors.flip(1).flatten(0, 1)  # [2 M, width]
        every, offset = gather(anchors)
        there = gather(known.repeat_interleave(2).float())[0] > 0  # [world 2 M]
        video = video.repeat_interleave(2)
        rows = torch.arange(len(every), device=video.device) - offset
        own = torch.full_like(rows, -1)
        own = torch.where((rows >= 0) & (rows < len(video)), video[rows.clamp(0, len(video) - 1)], own)
        other = there & (own != video[:, None])  # [2 M, world 2 M]
        positive = 1 - (anchors * partners).sum(1, keepdim=True)  # [2 M, 1]
        cost = positive - (1 - inner_products(anchors, every)) + self.margin
        cost = cost.masked_fill(~other, -torch.inf)
        count = min(self.negatives, len(every))
        drawn = torch.rand_like(cost).masked_fill(~other, -1).topk(count, dim=1).indices
        chosen = [cost.gather(1, drawn)]
        if self.progress.value >= self.random_until:
            chosen.append(cost.topk(count, dim=1).values)
        costs = torch.cat(chosen, 1)  # [2 M, negatives or twice as many]
        return shared_mean(costs, (costs > 0) & known.repeat_interleave(2)[:, None])

    def after_step(self, progress: float) -> None:
        """Keep how much of the run is done, on which the choice of negatives depends."""
        self.progress.set(progress)

    def describe(self, clips: Clips) -> list[list[str]]:
        """Name how far the window moves."""
        assert clips.target is not None
        corners = clips.target[..., :2] / clips.video.shape[-1]  # [B, N, 2, 2]
        ways = (corners[:, :, 1] - corners[:, :, 0]).norm(dim=-1)
        found = clips.target[..., 0, 2] > clips.target[..., 0, 0]
        return [
            [f"moved by {way:.2f} widths" if there else "no track" for way, there in zip(*row, strict=True)]
            for row in zip(ways.tolist(), found.tolist(), strict=True)
        ]

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """Return the first and the last patch of each track."""
        pairs, known = self.patches(clips)
        drawn = clips.denormalise(pairs) * known.view(-1, 1, 1, 1, 1)
        return {"patches": drawn.unflatten(0, clips.video.shape[:2])}


def cut(frames: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Cut a box out of each frame: ``[M, K, 3, H, W]`` and ``[M, K, 4]`` pixels to ``[M, K, 3, size, size]``."""
    flat, shape = frames.flatten(0, 1).float(), frames.shape[:2]
    row = torch.arange(len(flat), device=flat.device, dtype=flat.dtype)[:, None]
    rois = torch.cat([row, boxes.flatten(0, 1).to(flat)], 1)  # [M K, 5]
    return roi_align(flat, rois, size, sampling_ratio=2, aligned=True).unflatten(0, shape)


def nearest(apart: Tensor, known: Tensor, video: Tensor) -> tuple[Tensor, Tensor]:
    """Check whether each row's own column is nearer than the columns of other videos, and return the chance level.

    Args:
        apart: ``[M, M]`` distances from first patches (rows) to tracked ones.
        known: ``[M]`` bool, whether there is a track; a row without counts as at chance.
        video: ``[M]`` the video of each.
    """
    other = known & (video[:, None] != video)  # [M, M]
    chance = 1 / (1 + other.sum(1))
    right = (apart.diagonal()[:, None] < apart.masked_fill(~other, torch.inf)).all(1)
    return torch.where(known, right.float(), chance), chance


def patch_colours(pairs: Tensor, bins: int = 4) -> Tensor:
    """Return distances ``[M, M]`` of first to last patches by colour: ``[M, 2, 3, s, s]`` RGB in [0, 1].

    They are one minus the intersection of histograms of ``bins`` levels a channel.
    """
    levels = (pairs * bins).floor().clamp(0, bins - 1).long()
    place = (levels[:, :, 0] * bins + levels[:, :, 1]) * bins + levels[:, :, 2]  # [M, 2, s, s]
    shares = F.one_hot(place.flatten(2), bins**3).float().mean(2)  # [M, 2, bins^3]
    return 1 - torch.minimum(shares[:, None, 0], shares[None, :, 1]).sum(2)


def patch_places(boxes: Tensor) -> Tensor:
    """Return distances ``[M, M]`` in the frame of first to last boxes ``[M, 2, 4]``: nothing moves far."""
    return torch.cdist(boxes[:, 0, :2], boxes[:, 1, :2])
