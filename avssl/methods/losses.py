"""Losses that several methods share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from avssl.methods.distributed import gathered


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
    every, offset = gathered(views)  # [world 2 B, D], where this rank's rows begin
    logits = views @ every.T / temperature  # [2 B, world 2 B]
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
        every, offset = gathered(target)  # [world B, K, S, D]
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
