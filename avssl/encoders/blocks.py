"""The blocks of a network in order, found by its structure: for learning rates by depth, recomputation, compilation."""

from __future__ import annotations

import re
from collections.abc import Iterator

from torch import nn

NUMBERED = re.compile(r"([a-z]+_?)\d+[a-z]?")  # layer1, res2, conv3a


def blocks(network: nn.Module) -> list[nn.Module]:
    """Return a network's blocks from the input on: those of a transformer, the residual blocks of a ResNet.

    They are the members of the ``ModuleList``, the ``Sequential`` or the children with numbered names (``layer1``,
    ``layer2``, ...) that hold most of the network's parameters; lists among them, such as the stages of a ResNet, are
    replaced by their own members.

    Raises:
        ValueError: if there is no such list.
    """
    found = _flat(max(lists(network), key=_size, default=[]))
    if not found:
        raise ValueError(
            f"{type(network).__name__} has no list of blocks: do without recipe.layer_decay, "
            "recipe.checkpoint_activations and recipe.compile=encoder"
        )
    return found


def depths(network: nn.Module) -> dict[str, int]:
    """Return each parameter's depth, by name: 0 before the first of N `blocks`, 1 to N in them, N + 1 after the last.

    Parameters between two blocks count to the first of them. Outside the blocks, order is that of registration, in
    which a module's own parameters, such as tokens and position embeddings, come first.
    """
    inside = blocks(network)
    depth = {parameter: place for place, block in enumerate(inside, 1) for parameter in block.parameters()}
    seen, found = 0, {}
    for name, parameter in network.named_parameters():
        if parameter in depth:
            seen = max(seen, depth[parameter])
        found[name] = depth.get(parameter, len(inside) + 1 if seen == len(inside) else seen)
    return found


def lists(network: nn.Module) -> Iterator[list[nn.Module]]:
    """Yield the lists of modules that may be a network's blocks or stages, see `blocks`; members may be lists too."""
    for module in network.modules():
        if type(module) in (nn.ModuleList, nn.Sequential):
            yield list(module.children())
            continue
        numbered: dict[str, list[nn.Module]] = {}
        for name, child in module.named_children():
            if match := NUMBERED.fullmatch(name):
                numbered.setdefault(match[1], []).append(child)
        yield from (members for members in numbered.values() if len(members) > 1)


def _flat(members: list[nn.Module]) -> list[nn.Module]:
    """Return the members that have parameters, lists replaced by their own members."""
    found = []
    for member in members:
        if type(member) in (nn.ModuleList, nn.Sequential):
            found += _flat(list(member.children()))
        elif any(True for _ in member.parameters()):
            found.append(member)
    return found


def _size(members: list[nn.Module]) -> int:
    return sum(parameter.numel() for parameter in nn.ModuleList(members).parameters())
