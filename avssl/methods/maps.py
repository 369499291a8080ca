"""What methods share whose target is a map: a head over all stages of a frame encoder, and an honest chance level."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.encoders import ResNet


class MapHead(nn.Module):
    """Maps of a frame encoder to predictions at a quarter of the picture's sides.

    Each stage passes a 1 x 1 convolution, is enlarged to the size of the first one, and all are added: a fully
    convolutional network with skip connections (Long et al., CVPR 2015).

    Args:
        encoder: whose stages are read.
        out: channels of the prediction.
        hidden: channels in between.
    """

    def __init__(self, encoder: ResNet, out: int, hidden: int = 64) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(channels, hidden, 1) for channels in encoder.stage_channels)
        self.mixed = nn.Sequential(
            nn.BatchNorm2d(hidden), nn.ReLU(), nn.Conv2d(hidden, hidden, 3, padding=1), nn.ReLU()
        )
        self.out = nn.Conv2d(hidden, out, 1)

    def forward(self, stages: Sequence[Tensor]) -> Tensor:
        """Four ``[M, C, h, w]`` to ``[M, out, h, w]`` float32 at the size of the first."""
        size = stages[0].shape[-2:]
        total = sum(
            F.interpolate(layer(maps), size=size, mode="bilinear")
            for layer, maps in zip(self.lateral, stages, strict=True)
        )
        return self.out(self.mixed(total)).float()


def middle_frames(clips: Clips) -> Tensor:
    """The middle frame of each clip as a clip of its own: ``[B N, 1, 3, H, W]``."""
    return clips.video[:, :, clips.video.shape[2] // 2].flatten(0, 1)[:, None]


def of_middle_frames(head: MapHead, encoder: ResNet, clips: Clips) -> Tensor:
    """``[B, N, h, w]`` what a head of one channel says of the middle frames; nothing else is looked at."""
    return head(encoder.stages(middle_frames(clips))).squeeze(1).unflatten(0, clips.video.shape[:2])


def logistic(scores: Tensor, target: Tensor, counted: Tensor, weight: float) -> Tensor:
    """The mean logistic loss over the counted cells; 0 where none is.

    Args:
        scores: ``[B, N, h, w]`` logits.
        target: ``[B, N, h, w]`` bool.
        counted: ``[B, N, h, w]`` bool.
        weight: of a cell whose target is true, against 1 of one whose is not.
    """
    weights = torch.where(target, weight, 1.0) * counted
    losses = F.binary_cross_entropy_with_logits(scores, target.float(), weights, reduction="sum")
    return losses / counted.sum().clamp(min=1)


def by_cells(maps: Tensor, size: Sequence[int]) -> Tensor:
    """``[..., H, W]`` to the mean of each of (h, w) cells, ``[..., h, w]``."""
    flat = maps.flatten(0, -3)[:, None].float()
    return F.adaptive_avg_pool2d(flat, (size[0], size[1])).view(*maps.shape[:-2], size[0], size[1])


def drawn(maps: Tensor) -> Tensor:
    """Maps ``[B, N, h, w]`` in [0, 1] as grey pictures ``[B, N, 1, 3, h, w]`` (see `Method.pictures`)."""
    return maps[:, :, None, None].expand(-1, -1, 1, 3, -1, -1)


def chance(score: Callable[[Tensor], Tensor], predicted: Tensor, *blind: Tensor) -> Tensor:
    """What can be reached without looking at the video: the best of several blind answers.

    The answers are those given, and the method's own answer *to another video of the batch*, which knows all that is
    the same in every video: which values are common, and where in the picture.

    Args:
        score: ``[B, ...]`` predictions to ``[B]``.
        predicted: ``[B, ...]`` the method's predictions.
        blind: predictions that need no network, shaped as ``predicted``; at least one.

    Returns:
        ``[B]`` the scores of the answer that is best on average.
    """
    answers = [*blind, predicted.roll(1, 0)] if len(predicted) > 1 else list(blind)
    scores = torch.stack([score(answer) for answer in answers])  # [A, B]
    return scores[scores.mean(1).argmax()]


def likeliest(classes: Tensor, given: Tensor | None = None) -> Tensor:
    """A blind answer for `chance`: the class that is most frequent in other videos wherever ``given`` is the same.

    Args:
        classes: ``[B, P]`` int64, what is right at P places of each video; -1, not known, counts for nothing.
        given: ``[B, P]`` int64, what is known of each place without a network; None where nothing is.

    Returns:
        ``[B, P]``; the class most frequent anywhere where ``given`` is not met in another video. A single video
        answers for itself.
    """
    rows = len(classes)
    given = torch.zeros_like(classes) if given is None else given
    kinds, cases = max(1, int(classes.max()) + 1), int(given.max()) + 1
    classes = torch.where(classes < 0, kinds, classes)  # beyond the last one, left out below
    row = torch.arange(rows, device=classes.device)[:, None]
    places = ((row * cases + given) * (kinds + 1) + classes).flatten()
    counts = torch.bincount(places, minlength=rows * cases * (kinds + 1)).view(rows, cases, kinds + 1)[..., :kinds]
    others = (counts.sum(0) - counts if rows > 1 else counts).double()  # [B, cases, kinds]
    anywhere = others.sum(1, keepdim=True)
    return (others + anywhere / (1 + anywhere.sum(2, keepdim=True))).argmax(2).gather(1, given)


def share(right: Tensor, counted: Tensor) -> Tensor:
    """``[B, ...]`` bool answers to ``[B]``: the share that is right among the counted, 0 where none is counted."""
    right, counted = right.flatten(1), counted.flatten(1)
    return (right & counted).sum(1) / counted.sum(1).clamp(min=1)
