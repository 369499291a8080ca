"""Sketched isotropic Gaussian regularisation (SIGReg): a batch's vectors as a sample of a Gaussian.

R. Balestriero, Y. LeCun: LeJEPA: Provable and Scalable Self-Supervised Learning Without the Heuristics. 2025.
https://arxiv.org/abs/2511.08544
T. W. Epps, L. B. Pulley: A test for normality based on the empirical characteristic function. Biometrika 70(3), 1983.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from avssl.methods.distributed import gather

REACH = 3.0  # the integral runs from -REACH to REACH


def sigreg(vectors: Tensor, directions: int = 1024, knots: int = 17) -> Tensor:
    """Return how far vectors are from a sample of the standard Gaussian N(0, I), by random projections.

    A distribution is that Gaussian if and only if its projection onto every direction is N(0, 1) (Cramér & Wold). The
    projections onto random unit directions, drawn anew at each call and the same on all processes, are tested by
    `epps_pulley`. Vectors that have collapsed, or vary in some directions only, score high.

    Args:
        vectors: ``[..., B, D]``: B vectors of each of several views, which are tested separately.
        directions: number of random directions.
        knots: points of the numerical integration.

    Returns:
        Scalar mean over directions and views; near 1.05 for vectors of N(0, I), whatever their number.
    """
    with torch.autocast(vectors.device.type, enabled=False):
        drawn = torch.randn(1, directions, vectors.shape[-1], device=vectors.device)
        every, _ = gather(F.normalize(drawn, dim=2))  # [world, directions, D]; all take the first process's
        return epps_pulley(vectors.float() @ every[0].T, knots).mean()


def epps_pulley(samples: Tensor, knots: int = 17) -> Tensor:
    """Compare the characteristic function of samples with that of N(0, 1), which is exp(-t^2 / 2).

    The statistic is N ∫ |φ(t) - exp(-t^2 / 2)|^2 exp(-t^2 / 2) dt with φ(t) = mean of exp(i t x) over the N samples of
    all processes, integrated over [-REACH, REACH] by trapezoids. φ(-t) is the conjugate of φ(t), so that half of the
    integral is computed and doubled.

    Args:
        samples: ``[..., B, M]`` float32: B samples of each of M (and more) distributions.
        knots: points in [0, REACH].

    Returns:
        ``[..., M]``.
    """
    t = torch.linspace(0, REACH, knots, device=samples.device)
    gaussian = (-t.square() / 2).exp()  # characteristic function, and the weight of the integral
    angles = samples[..., None] * t  # [..., B, M, K]
    own = torch.stack([angles.cos().mean(-3), angles.sin().mean(-3)])  # [2, ..., M, K], real and imaginary part
    every, _ = gather(own[None])  # [world, 2, ..., M, K]
    real, imaginary = every.mean(0)
    distance = ((real - gaussian).square() + imaginary.square()) * gaussian
    return 2 * len(every) * samples.shape[-2] * torch.trapezoid(distance, dx=REACH / (knots - 1), dim=-1)
