"""Losses and metrics shared by several methods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.methods.base import measured, per_video_mean
from avssl.methods.distributed import gather, shared_mean

Negatives = Literal["semi-hard", "hard"]


def classification(scores: Tensor, target: Tensor, clips: Clips) -> dict[str, Tensor]:
    """Return the cross-entropy, the accuracy per video and the chance level of a K-way classification.

    Logits ``[M, K]`` and int64 classes ``[M]`` are in the order of the batch; M is a multiple of the number of videos.
    """
    return measured(clips, F.cross_entropy(scores, target), accuracy=(scores.argmax(1) == target, 1 / scores.shape[1]))


def info_nce(first: Tensor, second: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """NT-Xent loss: each vector against its positive and all other vectors of both views (SimCLR, equation 1).

    Args:
        first: ``[B, D]`` vectors of one view, of any length.
        second: ``[B, D]`` vectors of the other view; row i is the positive of row i of ``first``.
        temperature: divisor of the cosine similarities.

    Returns:
        The loss; ``[B]`` 1 where a row of ``first`` is nearest to its positive among all other vectors, those of other
        processes included; ``[B]`` the chance level of that, one over their number.
    """
    views = F.normalize(torch.cat([first, second]).float(), dim=1)  # [2 B, D]
    every, offset = gather(views)  # [world 2 B, D] and the row at which this rank's begin
    logits = inner_products(views, every) / temperature  # [2 B, world 2 B]
    rows = torch.arange(len(views), device=views.device)
    logits[rows, rows + offset] = -torch.inf  # itself
    target = (rows + len(first)) % len(views) + offset
    nearest = logits.argmax(1) == target
    chance = torch.full((len(first),), 1 / (len(every) - 1), device=views.device)
    return F.cross_entropy(logits, target), nearest[: len(first)].float(), chance


def dense_nce(predicted: Tensor, target: Tensor) -> dict[str, Tensor]:
    """InfoNCE of each predicted vector against the target vectors of every video, step and location.

    T. Han, W. Xie, A. Zisserman: Video Representation Learning by Dense Predictive Coding (DPC), ICCVW 2019, section 3;
    with a single location, InfoNCE (A. van den Oord et al.: Representation Learning with Contrastive Predictive Coding,
    2018, equation 4). Scores are plain inner products. Easy negatives come from other videos, spatial negatives from
    the same video and step, temporal negatives from the same video and location.

    Args:
        predicted: ``[B, K, S, D]`` for K steps and S locations.
        target: ``[B, K, S, D]``.

    Returns:
        Scalar ``"loss"``, and three metrics ``[B]`` with their chance levels:

        - ``"accuracy"``, ``"top5"``: the target is ranked first, or among the first five, of all targets (those of
          other processes included). Padding reveals the location of a vector, even in noise; chance is therefore that
          of a guess which knows the location: 1 and 5 over the number of videos times K.
        - ``"temporal"``, if K > 1: the target is ranked first of the K of its video and location. Static content
          doesn't help: K equal predictions score exactly 1 / K, the chance level.
    """
    _, steps, places, _ = predicted.shape
    with torch.autocast(predicted.device.type, enabled=False):
        predicted, target = predicted.float(), target.float()
        every, offset = gather(target)  # [world B, K, S, D]
        scores = predicted.flatten(0, 2) @ every.flatten(0, 2).T  # [B K S, world B K S]
        own = torch.arange(len(scores), device=scores.device) + offset * steps * places
        loss = F.cross_entropy(scores, own)
        later = torch.einsum("bksd,bjsd->bksj", predicted, target)  # [B, K, S, K]
    candidates = len(every) * steps  # of the same location
    best = min(5, candidates)
    highest = scores.topk(best, dim=1).indices == own[:, None]  # [B K S, best]
    metrics = {"accuracy": (highest[:, 0], 1 / candidates), "top5": (highest.any(1), best / candidates)}
    if steps > 1:
        right = later.argmax(3) == torch.arange(steps, device=later.device)[:, None]  # [B, K, S]
        metrics["temporal"] = right, 1 / steps
    return measured(predicted, loss, **metrics)


def mean_outputs(outputs: Sequence[dict[str, Tensor]], clips: Clips) -> dict[str, Tensor]:
    """Average losses and metrics ``[B ...]``, by name, over several predictions from the same videos, ``[B]``."""
    means = {name: torch.stack([out[name] for out in outputs]).mean(0) for name in outputs[0]}
    return {name: mean if name == "loss" else per_video_mean(mean, clips) for name, mean in means.items()}


def retrieval_accuracy(queries: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
    """Check whether the nearest key to each query, by cosine, is the one of the same video, in the same row.

    Takes ``[B, D]`` vectors of any length. Returns ``[B]`` 1 or 0, and ``[B]`` the chance level: one over the number of
    videos, those of other processes included.
    """
    every, offset = gather(F.normalize(keys.detach().float(), dim=1))  # [world B, D]
    similarity = inner_products(F.normalize(queries.detach().float(), dim=1), every)  # [B, world B]
    rows = torch.arange(len(queries), device=queries.device) + offset
    return (similarity.argmax(1) == rows).float(), torch.full_like(rows, 1 / len(every), dtype=torch.float)


def identification_accuracy(distance: Tensor) -> Tensor:
    """Return how often a prediction is nearer to its own target than to another one; chance level 1/2.

    Takes ``[..., M, M]`` distances from predictions (rows) to targets (columns), pairs on the diagonal. Returns
    ``[..., M]`` for each prediction the fraction of targets farther away than its own. Equal distances count one half,
    the own target's included, so that identical predictions (collapse) are at chance.
    """
    own = distance.diagonal(dim1=-2, dim2=-1)[..., None]  # [..., M, 1]
    return nearer(own, distance).mean(-1)


def nearer(own: Tensor, other: Tensor) -> Tensor:
    """Return 1 where the own distance is smaller, 0.5 where they are equal, else 0, with broadcasting."""
    return (own < other).float().add_((own == other).float(), alpha=0.5)


def inner_products(first: Tensor, second: Tensor) -> Tensor:
    """Return the inner products ``[..., M, K]`` of ``[..., M, D]`` and ``[..., K, D]``, in float32 despite autocast."""
    with torch.autocast(first.device.type, enabled=False):
        return first.float() @ second.float().transpose(-1, -2)


def squared_distances(first: Tensor, second: Tensor) -> Tensor:
    """Return the squared Euclidean distances ``[..., M, K]`` of ``[..., M, D]`` and ``[..., K, D]``, in float32."""
    squares = first.float().square().sum(-1)[..., :, None] + second.float().square().sum(-1)[..., None, :]
    return (squares - 2 * inner_products(first, second)).clamp(min=0)


def triplet(
    frames: Tensor, positive: Tensor, negative: Tensor, margin: float = 0.2, choice: Negatives = "semi-hard"
) -> Tensor:
    """Triplet loss: a frame must be nearer to each of its positives than to a negative, by a margin (TCN, equation 1).

    Args:
        frames: ``[B, M, D]`` unit vectors.
        positive: ``[B, M, M]`` bool, True if the second frame is a positive of the first.
        negative: ``[B, M, M]`` bool, True if the second frame is a negative of the first.
        margin: alpha, between squared distances.
        choice: the negative of each pair. ``"semi-hard"``: the nearest of those farther away than the positive, or if
            there is none, the farthest (FaceNet: Schroff et al., CVPR 2015, section 3.2); ``"hard"``: the nearest.

    Returns:
        The mean over pairs that have a negative.
    """
    distance = squared_distances(frames, frames)  # [B, M, M]
    far = distance.masked_fill(~negative, torch.inf)
    near = far.amin(-1, keepdim=True).expand_as(distance)  # [B, M, M], for each pair (anchor, positive)
    if choice == "semi-hard":
        beyond = far[:, :, None, :].masked_fill(far[:, :, None, :] <= distance[..., None], torch.inf)  # [B, M, M, M]
        farthest = distance.masked_fill(~negative, -torch.inf).amax(-1, keepdim=True)
        near = beyond.amin(-1)
        near = torch.where(near.isinf(), farthest, near)
    pairs = positive & negative.any(-1, keepdim=True)
    return shared_mean((distance - near).add(margin).relu(), pairs)


def n_pairs(first: Tensor, second: Tensor, negative: Tensor, shrink: float = 0.002) -> Tensor:
    """N-pair loss: a frame's partner against the partners of its negatives (Sohn, NeurIPS 2016, equation 7).

    Args:
        first: ``[B, T, D]`` vectors of any length.
        second: ``[B, T, D]``; row i is the partner of row i of ``first``.
        negative: ``[B, T, T]`` bool, True if the second frame is a negative of the first.
        shrink: weight of the vectors' mean squared length (Sohn, section 3.2.2).

    Returns:
        The mean over frames and both directions.
    """
    first, second = first.float(), second.float()
    similarity = inner_products(first, second)  # [B, T, T]
    itself = torch.eye(similarity.shape[-1], dtype=torch.bool, device=similarity.device)
    among = similarity.masked_fill(~(negative | itself), -torch.inf)
    own = similarity.diagonal(dim1=-2, dim2=-1)  # [B, T]
    loss = (among.logsumexp(-1) - own + among.logsumexp(-2) - own).mean() / 2
    return loss + shrink * (first.square().sum(-1) + second.square().sum(-1)).mean() / 2


def lifted(frames: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0) -> Tensor:
    """Lifted structured loss: a positive pair against all negatives of both frames (Oh Song et al., CVPR 2016, eq. 4).

    Returns half the mean over pairs, as in the paper. Arguments are as in `triplet`; ``positive`` and ``negative`` are
    symmetric, and the margin is between distances.
    """
    distance = (squared_distances(frames, frames) + 1e-12).sqrt()  # the gradient of sqrt is infinite at 0
    pull = (margin - distance).masked_fill(~negative, -torch.inf).logsumexp(-1)  # [B, M]
    cost = torch.logaddexp(pull[:, :, None], pull[:, None, :]) + distance  # [B, M, M]
    pairs = positive & cost.isfinite()
    return shared_mean(cost.relu().square(), pairs) / 2


def contrastive(distance: Tensor, chosen: Tensor, together: bool, margin: float) -> Tensor:
    """One side of the contrastive loss (Hadsell, Chopra & LeCun, CVPR 2006; AVTS, equation 1), over chosen pairs.

    Args:
        distance: distances of pairs, of any shape.
        chosen: bool of the same shape, the pairs that count.
        together: True for positive pairs, which cost their squared distance; negative pairs cost the square of the
            amount by which their distance falls short of the margin.
        margin: distance from which a negative pair costs nothing.

    Returns:
        The mean cost of the chosen pairs, 0 if there are none.
    """
    cost = distance.square() if together else (margin - distance).clamp(min=0).square()
    return shared_mean(cost, chosen)
