"""Names of EfficientNet's weights in efficientnet_pytorch and efficientnet_lite_pytorch, translated to timm's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

WHOLE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
EXPANDING = {  # in a block that expands its channels first
    **{"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2"},
    **{"_project_conv": "conv_pwl", "_bn2": "bn3", "_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand"},
}
PLAIN = {  # in one that doesn't
    **{"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"},
    **{"_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand"},
}


def timm_names(state: Mapping[str, Tensor], net: Any) -> dict[str, Tensor]:
    """Return weights under timm's names if they are those of the other packages, else as they are.

    Args:
        state: the weights.
        net: timm's network, whose stages say which of the numbered blocks is where. A name that has no counterpart is
            kept, so that it is reported as unexpected.
    """
    if "_conv_stem.weight" not in state:
        return dict(state)
    places = [(stage, block) for stage, blocks in enumerate(net.blocks) for block in range(len(blocks))]
    made = {}
    for name, tensor in state.items():
        layer, _, rest = name.partition(".")
        if layer == "_blocks":
            number, layer, rest = rest.split(".", 2)
            known = EXPANDING if f"_blocks.{number}._expand_conv.weight" in state else PLAIN
            if int(number) < len(places) and layer in known:
                stage, block = places[int(number)]
                name = f"blocks.{stage}.{block}.{known[layer]}.{rest}"
        elif layer in WHOLE:
            name = f"{WHOLE[layer]}.{rest}"
        made[name] = tensor
    return made
