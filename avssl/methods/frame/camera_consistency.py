"""Consistency of cameras: were two patches taken, processed and stored in the same way?

M. Huh, A. Liu, A. Owens, A. A. Efros: Fighting Fake News: Image Splice Detection via Learned Self-Consistency. ECCV
2018. https://arxiv.org/abs/1805.04096
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.data.samplers import RandomClips
from avssl.encoders import Encoder
from avssl.labels import RecordedAttributes
from avssl.methods.base import Method, measured
from avssl.methods.distributed import shared_mean
from avssl.synthetic.camera_pipeline import ATTRIBUTES, CameraPipeline

WHOLE = "camera"  # the answer about all attributes at once


class Pairs(NamedTuple):
    """Which of ``[P, P]`` pairs of patches count, and what is true of them.

    Attributes:
        same: ``[P, P, A + 1]`` bool, the same value of each attribute, and of all of them.
        known: ``[P, P, A + 1]`` bool, whether both values are known.
        apart: ``[P, P]`` bool, patches of different videos.
        alike: ``[P, P]`` bool, different patches of the same frame, filmed by one camera or by several.
        video: ``[P]`` the video of each patch.
    """

    same: Tensor
    known: Tensor
    apart: Tensor
    alike: Tensor
    video: Tensor


class CameraConsistency(Method):
    """Tell of two patches, for each attribute of a camera, whether its value is the same for both.

    The paper takes patches of photographs and the values in their EXIF header (section 3.1), beside three kinds of
    processing of its own (section 3.3). Here frames are filmed by cameras drawn at random (`CameraPipeline`), whose
    settings are the attributes, or the attributes are recorded with the files (`RecordedAttributes`: EXIF, or the
    settings of `film_videos`), or both. Each camera films frames of two videos, and each frame is filmed by several
    cameras, so that what is seen says nothing about the camera: pairs of different videos and pairs of patches of one
    frame count half each, and in both, pairs with the same and with different values count half each.

    A second head says whether all is the same, from the answers of the first alone (section 3.4); no gradient passes
    from it to the first.

    Metrics: ``camera``, the mean share of pairs of the same and of different cameras that are told right, and the same
    for each attribute; chance is 1/2. They count pairs of different videos only.

    Args:
        encoder: frame encoder over patches; `HighPassNet` sees what cameras leave.
        pipeline: the cameras; None takes frames as they are, and their recorded attributes.
        labeller: recorded attributes; None has those of the pipeline alone.
        size: height and width of the patches in pixels (paper: 128).
        cameras: how many film each frame, an even number.
        patches: patches of each picture.
        hidden: width of the head's hidden layers (paper: 4096, 2048 and 1024).

    Raises:
        ValueError: if there is neither a pipeline nor a labeller, or a number is out of range.
    """

    sampler: RandomClips
    frames_only = True

    def __init__(
        self,
        encoder: Encoder,
        sampler: RandomClips | None = None,
        pipeline: CameraPipeline | None = None,
        labeller: RecordedAttributes | None = None,
        size: int = 48,
        cameras: int = 2,
        patches: int = 2,
        hidden: int = 256,
    ) -> None:
        super().__init__(encoder, sampler or RandomClips(num_frames=1))
        if pipeline is None and labeller is None:
            raise ValueError("CameraConsistency needs attributes: give it a pipeline, a labeller, or both")
        if size < 8 or patches < 2 or cameras < 2 or cameras % 2:
            got = f"{size}, {patches} and {cameras}"
            raise ValueError(f"CameraConsistency: expected size >= 8, patches >= 2 and even cameras >= 2, got {got}")
        self.pipeline, self.labeller = pipeline, labeller
        self.size, self.cameras, self.patches = size, cameras, patches
        self.attributes = [*(ATTRIBUTES if pipeline is not None else ()), *(labeller.names if labeller else ())]
        self.pair = nn.Sequential(
            nn.Linear(2 * encoder.num_features, hidden), nn.ReLU(), nn.Linear(hidden, len(self.attributes))
        )
        self.whole = nn.Sequential(nn.Linear(len(self.attributes), 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and metrics over the pairs of patches of a batch."""
        patches, pairs = self.patches_of(clips)
        answers = self.answers(self.embed(patches))  # [P, P, A + 1]
        right = (answers > 0) == pairs.same
        cost = F.binary_cross_entropy_with_logits(answers, pairs.same.float(), reduction="none")
        names = [*self.attributes, WHOLE]
        parts = [
            shared_mean(cost[..., place], shown & pairs.known[..., place] & (pairs.same[..., place] == value))
            for place in range(len(names))
            for shown in (pairs.apart, pairs.alike)
            for value in (True, False)
        ]
        found = balanced(right, pairs, len(clips))  # [B, A + 1]
        metrics = {name: (found[:, place], 0.5) for place, name in enumerate(names)}
        return measured(clips, torch.stack(parts).mean(), **metrics)

    def embed(self, patches: Tensor) -> Tensor:
        """Return vectors ``[P, D]`` of normalised patches ``[P, 3, size, size]``."""
        return self.encoder(patches[:, None])

    def answers(self, vectors: Tensor, others: Tensor | None = None) -> Tensor:
        """Compare all vectors ``[P, D]`` with all others ``[Q, D]``, by default with each other.

        Returns:
            ``[P, Q, A + 1]`` log-odds that the value of each attribute is the same, and that all are; the same for
            (p, q) and (q, p).
        """
        first, second = vectors[:, None], (vectors if others is None else others)[None]
        logits = self.pair(torch.cat([(first - second).abs(), first * second], 2)).float()
        return torch.cat([logits, self.whole(logits.detach()).float()], 2)

    def patches_of(self, clips: Clips) -> tuple[Tensor, Pairs]:
        """Film the frames and cut patches ``[P, 3, size, size]``, normalised, out of the pictures."""
        rgb = clips.rgb.flatten(0, 2)  # [F, 3, H, W]
        per_video = len(rgb) // len(clips)
        pictures, settings = self.film(rgb, per_video)
        frame = torch.arange(len(rgb), device=rgb.device).repeat(len(pictures) // len(rgb))
        rows = torch.arange(len(pictures), device=rgb.device).repeat_interleave(self.patches)
        same, known = [_equal(settings[rows])], [_equal(torch.zeros_like(settings[rows]))]
        if self.labeller is not None:
            if clips.target is None:
                raise ValueError("CameraConsistency needs the attributes of its labeller: the clips have no target")
            recorded = clips.target.flatten(0, 1).repeat_interleave(clips.video.shape[2], 0)[frame[rows]]
            same.append(_equal(recorded))
            known.append((recorded >= 0)[:, None] & (recorded >= 0)[None])
        pairs = paired(torch.cat(same, 2), torch.cat(known, 2), frame[rows], per_video)
        return clips.normalise(cut_at_random(pictures, self.patches, self.size)), pairs

    def film(self, rgb: Tensor, per_video: int) -> tuple[Tensor, Tensor]:
        """Film frames ``[F, 3, H, W]``, ``per_video`` of each video: each camera films two frames, of two videos.

        Returns:
            ``[cameras F, 3, H, W]`` pictures, and the settings ``[cameras F, A]`` of their cameras; without a pipeline
            the frames and nothing.
        """
        if self.pipeline is None:
            return rgb, rgb.new_zeros(len(rgb), 0)
        drawn = self.pipeline.draw(len(rgb) * self.cameras // 2).split(len(rgb))
        settings = torch.cat([half for part in drawn for half in (part, part.roll(per_video, 0))])
        return self.pipeline(rgb.repeat(self.cameras, 1, 1, 1), settings), settings

    def describe(self, clips: Clips) -> list[list[str]]:
        """Name the attributes."""
        return [[f"same {', '.join(self.attributes)}?"] * clips.video.shape[1]] * len(clips)

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """Return each frame as its cameras film it, and a patch of each."""
        filmed, _ = self.film(clips.rgb.flatten(0, 2), clips.times[0].numel())
        shape = clips.video.shape[:2]
        copies = filmed.unflatten(0, (-1, *shape, clips.video.shape[2])).movedim(0, 3)  # [B, N, T, copies, 3, H, W]
        cut = cut_at_random(copies.flatten(0, 3), 1, self.size).unflatten(0, copies.shape[:4])
        return {"filmed": copies.flatten(2, 3), "patches": cut.flatten(2, 3)}


def paired(same: Tensor, known: Tensor, frame: Tensor, per_video: int) -> Pairs:
    """Describe all pairs of P patches.

    Args:
        same: ``[P, P, A]`` bool, whether an attribute has the same value.
        known: ``[P, P, A]`` bool, whether both values are known.
        frame: ``[P]`` the frame that each patch is of.
        per_video: frames of each video.
    """
    whole = (same | ~known).all(2, keepdim=True)
    video = frame // per_video
    itself = torch.eye(len(frame), dtype=torch.bool, device=frame.device)
    return Pairs(
        torch.cat([same, whole], 2),
        torch.cat([known, known.any(2, keepdim=True)], 2),
        video[:, None] != video[None],
        (frame[:, None] == frame[None]) & ~itself,
        video,
    )


def _equal(values: Tensor) -> Tensor:
    """Compare ``[P, A]`` values of all pairs: ``[P, P, A]``."""
    return values[:, None] == values[None]


def balanced(right: Tensor, pairs: Pairs, videos: int) -> Tensor:
    """Average what is right over the pairs of each video with others that are the same, and over those that are not.

    Returns:
        ``[videos, A + 1]`` means of both shares; where there are no pairs, 1/2.
    """
    shares = []
    for value in (True, False):
        counted = pairs.apart[:, :, None] & pairs.known & (pairs.same == value)
        sums = torch.stack([(right & counted).sum(1), counted.sum(1)]).float()  # [2, P, A + 1]
        each = sums.new_zeros(2, videos, sums.shape[2]).index_add(1, pairs.video, sums)
        shares.append(torch.where(each[1] > 0, each[0] / each[1].clamp(min=1), 0.5))
    return torch.stack(shares).mean(0)


def cut_at_random(pictures: Tensor, count: int, size: int) -> Tensor:
    """Cut patches at random places: ``[M, C, H, W]`` to ``[M count, C, size, size]``, those of a picture in a row.

    Raises:
        ValueError: if a picture is smaller than a patch.
    """
    height, width = pictures.shape[-2:]
    if min(height, width) < size:
        raise ValueError(f"CameraConsistency: patches of {size} pixels do not fit into pictures of {[height, width]}")
    share = torch.rand(2, len(pictures), count, 1, device=pictures.device)
    along = torch.arange(size, device=pictures.device)
    down, across = (
        (part * (side - size + 1)).long().clamp(max=side - size) + along
        for part, side in zip(share, (height, width), strict=True)
    )  # [M, count, size]
    row = torch.arange(len(pictures), device=pictures.device)[:, None, None, None]
    found = pictures[row, :, down[..., :, None], across[..., None, :]]  # [M, count, size, size, C]
    return found.permute(0, 1, 4, 2, 3).flatten(0, 1)
