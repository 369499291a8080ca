"""Shared head and chance baseline for dense-target methods."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.encoders import ResNet


class MapHead(nn.Module):
    """Dense prediction head over all stages of a frame encoder, at a quarter of the frame's height and width.

    Each stage passes through a 1 x 1 convolution and is upsampled to the size of the first; their sum is decoded: a
    fully convolutional network with skip connections (Long et al., CVPR 2015).
    """

    def __init__(self, encoder: ResNet, out: int, hidden: int = 64) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(channels, hidden, 1) for channels in encoder.stage_channels)
        self.mixed = nn.Sequential(
            nn.BatchNorm2d(hidden), nn.ReLU(), nn.Conv2d(hidden, hidden, 3, padding=1), nn.ReLU()
        )
        self.out = nn.Conv2d(hidden, out, 1)

    def forward(self, stages: Sequence[Tensor]) -> Tensor:
        """Decode four ``[M, C, h, w]`` stages to ``[M, out, h, w]`` float32 at the size of the first."""
        size = stages[0].shape[-2:]
        total = sum(
            F.interpolate(layer(maps), size=size, mode="bilinear")
            for layer, maps in zip(self.lateral, stages, strict=True)
        )
        return self.out(self.mixed(total)).float()


def middle_frames(clips: Clips) -> Tensor:
    """Return the middle frame of each clip as a one-frame clip, ``[B N, 1, 3, H, W]``."""
    return clips.video[:, :, clips.video.shape[2] // 2].flatten(0, 1)[:, None]


def masked_logistic_loss(scores: Tensor, target: Tensor, counted: Tensor, weight: float) -> Tensor:
    """Return the mean logistic loss over the counted cells, 0 if there are none.

    Logits, and bool ``target`` and ``counted``, are ``[B, N, h, w]``. Positive cells have ``weight``, negative ones 1.
    """
    weights = torch.where(target, weight, 1.0) * counted
    losses = F.binary_cross_entropy_with_logits(scores, target.float(), weights, reduction="sum")
    return losses / counted.sum().clamp(min=1)


def cell_means(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Average ``[..., H, W]`` maps over a grid of (h, w) cells, ``[..., h, w]``."""
    flat = maps.flatten(0, -3)[:, None].float()
    return F.adaptive_avg_pool2d(flat, (size[0], size[1])).view(*maps.shape[:-2], size[0], size[1])


def grey_pictures(maps: Tensor) -> Tensor:
    """Return ``[B, N, h, w]`` maps in [0, 1] as grey images ``[B, N, 1, 3, h, w]`` (see `Method.pictures`)."""
    return maps[:, :, None, None].expand(-1, -1, 1, 3, -1, -1)


def chance_level(score: Callable[[Tensor], Tensor], predicted: Tensor, *blind: Tensor) -> Tensor:
    """Return the score that can be reached without seeing the video: that of the best blind answer.

    The candidates are ``blind`` and the method's own prediction *for another video of the batch*, which captures
    everything that all videos have in common: frequent values, and where in the frame they occur.

    Args:
        score: maps ``[B, ...]`` predictions to ``[B]`` scores.
        predicted: ``[B, ...]`` predictions of the method.
        blind: at least one prediction that needs no network, of the same shape.

    Returns:
        ``[B]`` scores of the answer with the highest mean score.
    """
    answers = [*blind, predicted.roll(1, 0)] if len(predicted) > 1 else list(blind)
    scores = torch.stack([score(answer) for answer in answers])  # [A, B]
    return scores.index_select(0, scores.mean(1).argmax().view(1)).squeeze(0)


def class_counts(classes: Tensor, kinds: int) -> Tensor:
    """Count how often each of the classes 0 to ``kinds - 1`` occurs in int64 ``classes`` of any shape: ``[kinds]``."""
    flat = classes.flatten()
    return torch.zeros(kinds, dtype=flat.dtype, device=flat.device).scatter_add_(0, flat, torch.ones_like(flat))


def most_frequent(classes: Tensor, kinds: int, given: Tensor | None = None, cases: int = 1) -> Tensor:
    """Return a blind answer for `chance_level`: the most frequent class in other videos, conditional on ``given``.

    Args:
        classes: ``[B, P]`` int64 ground truth at P positions per video; -1 is unknown and ignored.
        kinds: number of classes.
        given: ``[B, P]`` int64, what is known of each position without a network; None for no condition.
        cases: number of values of ``given``, from 0 on.

    Returns:
        ``[B, P]`` classes; where no other video has the same ``given``, the most frequent class overall. A single video
        is its own reference.
    """
    rows = len(classes)
    given = torch.zeros_like(classes) if given is None else given
    classes = torch.where(classes < 0, kinds, classes)  # an extra class, dropped below
    row = torch.arange(rows, device=classes.device)[:, None]
    places = (row * cases + given) * (kinds + 1) + classes
    counts = class_counts(places, rows * cases * (kinds + 1)).view(rows, cases, kinds + 1)[..., :kinds]
    others = (counts.sum(0) - counts if rows > 1 else counts).double()  # [B, cases, kinds]
    overall = others.sum(1, keepdim=True)
    return (others + overall / (1 + overall.sum(2, keepdim=True))).argmax(2).gather(1, given)


def accuracy_and_chance(name: str, answer: Tensor, right: Tensor, counted: Tensor, *blind: Tensor) -> dict[str, Tensor]:
    """Return the accuracy over the counted places and its `chance_level`; all tensors are ``[B, ...]``."""

    def score(guess: Tensor) -> Tensor:
        return masked_accuracy(guess == right, counted)

    return {name: score(answer), f"chance/{name}": chance_level(score, answer, *blind)}


def masked_accuracy(correct: Tensor, counted: Tensor) -> Tensor:
    """Return the fraction of counted ``[B, ...]`` bool answers that are correct, ``[B]``; 0 if none is counted."""
    correct, counted = correct.flatten(1), counted.flatten(1)
    return (correct & counted).sum(1) / counted.sum(1).clamp(min=1)
