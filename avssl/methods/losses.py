"""Losses that several methods share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from avssl.methods.distributed import gather

Negatives = Literal["semi-hard", "hard"]


def info_nce(first: Tensor, second: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """NT-Xent: each vector must find its partner among all others of both views (SimCLR, equation 1).

    Args:
        first: ``[B, D]`` one view, any length.
        second: ``[B, D]`` the other view, row by row the partner of ``first``.
        temperature: by which cosine similarities are divided.

    Returns:
        The loss; ``[B]`` whether each row of ``first`` is nearest to its partner among all other vectors, those of
        other processes included; ``[B]`` the chance of that, one over their number.
    """
    views = F.normalize(torch.cat([first, second]).float(), dim=1)  # [2 B, D]
    every, offset = gather(views)  # [world 2 B, D], where this rank's rows begin
    logits = inner_products(views, every) / temperature  # [2 B, world 2 B]
    rows = torch.arange(len(views), device=views.device)
    logits[rows, rows + offset] = -torch.inf  # itself
    target = (rows + len(first)) % len(views) + offset
    nearest = logits.argmax(1) == target
    chance = torch.full((len(first),), 1 / (len(every) - 1), device=views.device)
    return F.cross_entropy(logits, target), nearest[: len(first)].float(), chance


def dense_nce(predicted: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Each predicted vector must find its own among the true ones of every video, step and place.

    T. Han, W. Xie, A. Zisserman: Video Representation Learning by Dense Predictive Coding (DPC), ICCVW 2019, section 3;
    with a single place, InfoNCE (A. van den Oord et al.: Representation Learning with Contrastive Predictive Coding,
    2018, equation 4). Scores are plain inner products. Vectors of other videos are the easy negatives, of the same
    video and step the spatial ones, of the same video and place the temporal ones.

    Args:
        predicted: ``[B, K, S, D]`` for K steps and S places.
        target: ``[B, K, S, D]`` what was there.

    Returns:
        Scalar ``"loss"``, and three metrics ``[B]`` with their chance:

        - ``"accuracy"``, ``"top5"``: its own scores highest, or among the highest five, of all (those of other
          processes included). Padding tells a network where in the picture a vector comes from, even in noise; so
          chance is that of a guess which knows the place: 1 and 5 over the number of videos times K.
        - ``"temporal"``, where K > 1: its own scores highest of the K of its video and place. What is seen but does not
          change with time is no help: K equal predictions get exactly the chance of 1 / K.
    """
    rows, steps, places, _ = predicted.shape
    with torch.autocast(predicted.device.type, enabled=False):
        predicted, target = predicted.float(), target.float()
        every, offset = gather(target)  # [world B, K, S, D]
        scores = predicted.flatten(0, 2) @ every.flatten(0, 2).T  # [B K S, world B K S]
        own = torch.arange(len(scores), device=scores.device) + offset * steps * places
        loss = F.cross_entropy(scores, own)
        later = torch.einsum("bksd,bjsd->bksj", predicted, target)  # [B, K, S, K]
    alike = len(every) * steps  # vectors that come from the same place
    best = min(5, alike)
    highest = scores.topk(best, dim=1).indices == own[:, None]  # [B K S, best]
    values = {"accuracy": highest[:, 0], "top5": highest.any(1)}
    chance = {"accuracy": 1 / alike, "top5": best / alike}
    if steps > 1:
        values["temporal"] = later.argmax(3) == torch.arange(steps, device=later.device)[:, None]
        chance["temporal"] = 1 / steps
    out = {"loss": loss}
    for name, hit in values.items():
        out[name] = hit.float().reshape(rows, -1).mean(1)
        out[f"chance/{name}"] = torch.full((rows,), chance[name], device=loss.device)
    return out


def mean_outputs(outputs: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of several answers with equal names: losses and metrics of several predictions from one video."""
    return {name: torch.stack([out[name] for out in outputs]).mean(0) for name in outputs[0]}


def retrieval_accuracy(queries: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
    """Whether the key of the same video is the most similar to a query, among the keys of all videos of the batch.

    Args:
        queries: ``[B, D]``, any length.
        keys: ``[B, D]``, row by row those of the same videos.

    Returns:
        ``[B]`` 1 or 0, and ``[B]`` the chance of 1: one over the number of videos, those of other processes included.
    """
    every, offset = gather(F.normalize(keys.detach().float(), dim=1))  # [world B, D]
    similarity = inner_products(F.normalize(queries.detach().float(), dim=1), every)  # [B, world B]
    rows = torch.arange(len(queries), device=queries.device) + offset
    return (similarity.argmax(1) == rows).float(), torch.full_like(rows, 1 / len(every), dtype=torch.float)


def identification_accuracy(distance: Tensor) -> Tensor:
    """How often a prediction is nearer to its own target than to another one: identification among two, chance 1/2.

    Args:
        distance: ``[..., M, M]`` of each prediction (row) to each target (column), the own one on the diagonal.

    Returns:
        ``[..., M]`` for each prediction the share of targets that are farther off than its own. Equal distances count
        one half (the own target does, too), so that answers that are all the same (collapse) are at chance.
    """
    own = distance.diagonal(dim1=-2, dim2=-1)[..., None]  # [..., M, 1]
    return nearer(own, distance).mean(-1)


def nearer(own: Tensor, other: Tensor) -> Tensor:
    """1 where the own distance is smaller, 0.5 where they are equal, else 0; shapes are broadcast."""
    return (own < other).float().add_((own == other).float(), alpha=0.5)


def inner_products(first: Tensor, second: Tensor) -> Tensor:
    """``[..., M, D]`` and ``[..., K, D]`` to ``[..., M, K]`` scalar products, in float32 also under autocast."""
    with torch.autocast(first.device.type, enabled=False):
        return first.float() @ second.float().transpose(-1, -2)


def squared_distances(first: Tensor, second: Tensor) -> Tensor:
    """``[..., M, D]`` and ``[..., K, D]`` to ``[..., M, K]`` squared Euclidean distances in float32."""
    squares = first.float().square().sum(-1)[..., :, None] + second.float().square().sum(-1)[..., None, :]
    return (squares - 2 * inner_products(first, second)).clamp(min=0)


def triplet(
    frames: Tensor, positive: Tensor, negative: Tensor, margin: float = 0.2, choice: Negatives = "semi-hard"
) -> Tensor:
    """A frame must be nearer to each of its positives than to a negative, by a margin (TCN, equation 1).

    Args:
        frames: ``[B, M, D]`` vectors, of length 1.
        positive: ``[B, M, M]`` bool, whether the second frame is a positive of the first.
        negative: ``[B, M, M]`` bool, whether the second frame is a negative of the first.
        margin: alpha, between squared distances.
        choice: of the one negative of each pair. ``"semi-hard"``: the nearest of those that are farther off than the
            positive, or where there is none, the farthest (FaceNet: Schroff et al., CVPR 2015, section 3.2);
            ``"hard"``: the nearest.

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
    return (distance - near)[pairs].add(margin).relu().mean()


def n_pairs(first: Tensor, second: Tensor, negative: Tensor, shrink: float = 0.002) -> Tensor:
    """A frame must find its partner among the partners of its negatives (Sohn, NeurIPS 2016, equation 7).

    Args:
        first: ``[B, T, D]`` vectors of any length.
        second: ``[B, T, D]``, row by row the partners of ``first``.
        negative: ``[B, T, T]`` bool, whether the second frame is a negative of the first.
        shrink: weight of the vectors' mean squared length (Sohn, section 3.2.2).

    Returns:
        The mean over frames and both directions.
    """
    first, second = first.float(), second.float()
    similarity = inner_products(first, second)  # [B, T, T]
    itself = torch.eye(similarity.shape[-1], dtype=torch.bool, device=similarity.device)
    among = similarity.masked_fill(~(negative | itself), -torch.inf)
    own = similarity.diagonal(dim1=-2, dim2=-1)  # [B, T]
    found = (among.logsumexp(-1) - own + among.logsumexp(-2) - own).mean() / 2
    return found + shrink * (first.square().sum(-1) + second.square().sum(-1)).mean() / 2


def lifted(frames: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0) -> Tensor:
    """Each positive pair against all negatives of both of its frames (Oh Song et al., CVPR 2016, equation 4).

    Args:
        frames: ``[B, M, D]`` vectors.
        positive: ``[B, M, M]`` bool, symmetric.
        negative: ``[B, M, M]`` bool, symmetric.
        margin: alpha, between distances.

    Returns:
        Half the mean over pairs, as in the paper.
    """
    distance = (squared_distances(frames, frames) + 1e-12).sqrt()  # a root's slope at 0 is infinite
    pull = (margin - distance).masked_fill(~negative, -torch.inf).logsumexp(-1)  # [B, M]
    cost = torch.logaddexp(pull[:, :, None], pull[:, None, :]) + distance  # [B, M, M]
    pairs = positive & cost.isfinite()
    return cost[pairs].relu().square().mean() / 2


def contrastive(distance: Tensor, chosen: Tensor, together: bool, margin: float) -> Tensor:
    """One side of the contrastive loss (Hadsell, Chopra & LeCun, CVPR 2006; AVTS, equation 1), over chosen pairs.

    Args:
        distance: of each pair.
        chosen: which pairs count, of the same shape.
        together: pairs belong together and cost the square of their distance; others cost the square of what they lack
            to the margin.
        margin: distance at which a pair that doesn't belong together is far enough.

    Returns:
        The mean cost of the chosen pairs; 0 where there are none.
    """
    cost = distance.square() if together else (margin - distance).clamp(min=0).square()
    return (cost * chosen).sum() / chosen.sum().clamp(min=1)
