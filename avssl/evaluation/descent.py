"""Minimisation of many smooth functions at once, whose values and gradients come from the same pass over the data.

L-BFGS: J. Nocedal, S. Wright: Numerical Optimization, 2nd edition, 2006, algorithms 7.4 and 7.5.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

TOLERANCE = 3e-5  # largest derivative at the minimum; scikit-learn's 1e-4 can leave accuracies 0.3 points from there
MEMORY = 10  # pairs of steps and changes of the gradient that are remembered
DECREASE = 1e-4  # least decrease of a function, as a share of what its slope promises
ROUNDING = 1e-7  # relative error of a function's value
SHORTEST = 1e-6  # length at which a step is given up, as a share of the direction

Evaluate = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def descend(
    evaluate: Evaluate,
    start: Tensor,
    inverse: Callable[[Tensor, Tensor], Tensor],
    iterations: int,
    tolerance: float = TOLERANCE,
) -> Tensor:
    """Return the minima ``[A, P, B]`` of P functions of A B numbers each.

    Each function has directions and steps of its own and drops out once it is minimal, but all are evaluated together.

    Args:
        evaluate: given points ``[A, p, B]`` and the numbers ``[p]`` of their functions, returns the values ``[p]``
            and the gradients ``[A, p, B]``.
        start: points ``[A, P, B]``.
        inverse: given vectors ``[A, p, B]`` and numbers ``[p]``, multiplies them with an approximate inverse Hessian.
        iterations: largest number of steps of each function.
        tolerance: largest derivative at a minimum.
    """
    result, which = start.clone(), torch.arange(start.shape[1], device=start.device)
    point = start
    value, gradient = evaluate(point, which)
    pairs: list[tuple[Tensor, Tensor, Tensor]] = []  # step, change of the gradient, 1 / their product or 0
    steps, length = torch.zeros_like(which), torch.ones_like(value)
    direction, fresh = -inverse(gradient, which), torch.zeros_like(which, dtype=torch.bool)
    while True:
        left = (gradient.abs().amax((0, 2)) > tolerance) & (steps < iterations) & (length > SHORTEST)
        if not (left.any() and left.all()):
            result[:, which] = point
            if not left.any():
                return result
            which, value, steps, length, fresh = (found[left] for found in (which, value, steps, length, fresh))
            point, gradient, direction = (found[:, left] for found in (point, gradient, direction))
            pairs = [(step[:, left], change[:, left], weight[left]) for step, change, weight in pairs]
        if fresh.any():
            found = _direction(gradient, pairs, lambda vectors, which=which: inverse(vectors, which))  # type: ignore[misc]
            direction = torch.where(fresh[:, None], found, direction)
        slope = _dot(direction, gradient)
        tried = point + (length.to(point.dtype)[:, None] * direction)
        reached, turned = evaluate(tried, which)
        fresh = reached <= value + DECREASE * length * slope + ROUNDING * value.abs()
        taken = fresh[:, None]
        step, change = torch.where(taken, tried - point, 0), torch.where(taken, turned - gradient, 0)
        product = _dot(step, change)
        pairs = [*pairs[-MEMORY + 1 :], (step, change, torch.where(product > 0, 1 / product, 0))]
        # A rejected step is shortened to the minimum of the parabola through what is known of the function.
        parabola = -slope * length.square() / (2 * (reached - value - slope * length)).clamp_min(1e-30)
        length = torch.where(fresh, 1.0, parabola.clamp(0.1 * length, 0.5 * length))
        value, steps = torch.where(fresh, reached, value), steps + fresh
        point, gradient = torch.where(taken, tried, point), torch.where(taken, turned, gradient)


def _direction(
    gradient: Tensor, pairs: list[tuple[Tensor, Tensor, Tensor]], inverse: Callable[[Tensor], Tensor]
) -> Tensor:
    """Return the direction of descent (algorithm 7.4); a pair of weight 0 changes nothing."""
    found, shares = gradient, []
    for step, change, weight in reversed(pairs):
        shares.append(weight * _dot(step, found))
        found = found - shares[-1].to(found.dtype)[:, None] * change
    found = inverse(found)
    scale = torch.ones_like(pairs[-1][2])
    for step, change, weight in pairs:  # the last pair of weight counts (equation 7.20)
        if weight.any():
            bend = _dot(change, inverse(change))
            scale = torch.where(weight > 0, _dot(step, change) / bend.clamp_min(1e-30), scale)
    found = scale.to(found.dtype)[:, None] * found
    for (step, change, weight), share in zip(pairs, reversed(shares), strict=True):
        found = found + (share - weight * _dot(change, found)).to(found.dtype)[:, None] * step
    return -found


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Return the product of each function's vectors, ``[P]`` float64."""
    return (a * b).sum((0, 2), dtype=torch.float64)
