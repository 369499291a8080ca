"""Groups of parameters with their own learning rate or without weight decay."""

from __future__ import annotations

import re
from typing import Any

from torch import Tensor, nn

from avssl.encoders.blocks import depths
from avssl.recipe.recipe import Recipe

PLACES = {"token", "tokens", "pos", "position", "positions"}  # words in the names of tokens and position embeddings


def parameters(network: nn.Module, recipe: Recipe) -> list[nn.Parameter] | list[dict[str, Any]]:
    """Return the trainable parameters of a network that has an ``encoder``, for an optimiser's constructor.

    They are one list if the recipe treats all alike. Otherwise they are groups, each with its relative learning rate
    ``lr_scale`` (Bao et al., BEiT, ICLR 2022: ``layer_decay`` to the power of the number of blocks above, and of the
    norm that follows) and with ``spared``, whether weight decay, then 0, isn't meant for it.

    Raises:
        ValueError: if the encoder has no blocks that a learning rate could depend on.
    """
    named = [(name, parameter) for name, parameter in network.named_parameters() if parameter.requires_grad]
    if recipe.layer_decay is None and recipe.decay_vectors:
        return [parameter for _, parameter in named]
    scales = {} if recipe.layer_decay is None else _scales(network.get_submodule("encoder"), recipe.layer_decay)
    groups: dict[tuple[float, bool], dict[str, Any]] = {}
    for name, parameter in named:
        lr_scale, spared = scales.get(parameter, 1.0), not recipe.decay_vectors and is_vector(name, parameter)
        group = {"params": [], "lr_scale": lr_scale, "spared": spared, **({"weight_decay": 0.0} if spared else {})}
        groups.setdefault((lr_scale, spared), group)["params"].append(parameter)
    return list(groups.values())


def is_vector(name: str, parameter: Tensor) -> bool:
    """Return whether a parameter is a norm's, a bias, another vector, a token or a table of positions, by its name."""
    words = set(re.split(r"[._]", name))
    return sum(size > 1 for size in parameter.shape) < 2 or bool(words & PLACES)


def _scales(encoder: nn.Module, decay: float) -> dict[nn.Parameter, float]:
    depth = depths(encoder)
    top = max(depth.values())
    return {parameter: decay ** (top - depth[name]) for name, parameter in encoder.named_parameters()}
