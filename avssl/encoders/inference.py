"""A faster copy of an encoder, for inference only."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from avssl.encoders.base import Encoder
from avssl.encoders.conv import Conv2d, Conv3d

CONVS = (nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm2d, nn.BatchNorm3d)
FORWARDS = [kind.forward for kind in (*CONVS, Conv2d, Conv3d)]
MAX_POOL = repr(nn.MaxPool2d(3, stride=2, padding=1))


def for_inference(encoder: Encoder, half: bool = False) -> Encoder:
    """Return a copy in eval mode with each batch normalisation folded into the convolution before it.

    Only where the module definition has one directly after the other, as in torchvision's networks, and only torch's
    own batch normalisation: timm's contains the activation too. On a CPU the max pooling of residual networks is
    replaced by a faster one (`MaxPool`). The result equals that of ``encoder.eval()`` up to rounding.

    Args:
        encoder: on any device; not modified.
        half: convert once the weights that bfloat16 autocast would convert at each call. Only for use under autocast,
            whose results don't change.
    """
    quick = copy.deepcopy(encoder).eval()
    on_gpu = any(weight.is_cuda for weight in quick.parameters())
    for module in list(quick.modules()):
        for (first, conv), (second, norm) in pairwise(list(module.named_children())):
            if _plain(conv) and _own(norm) and conv.out_channels == norm.num_features:
                setattr(module, first, fuse_conv_bn_eval(conv, norm))
                setattr(module, second, nn.Identity())
        for name, pool in list(module.named_children()):
            if repr(pool) == MAX_POOL and not on_gpu:
                setattr(module, name, MaxPool())
    if half:
        for layer in quick.modules():
            if isinstance(layer, (*CONVS, nn.Linear)):
                layer.to(torch.bfloat16)
    return quick


def _plain(layer: nn.Module) -> TypeGuard[nn.Conv2d | nn.Conv3d]:
    """Return whether a convolution applies its weights as they are; some subclasses in other libraries don't."""
    return isinstance(layer, CONVS) and type(layer).forward in FORWARDS


def _own(layer: nn.Module) -> TypeGuard[nn.BatchNorm2d | nn.BatchNorm3d]:
    """Return whether a layer is torch's batch normalisation and nothing more."""
    return type(layer) in NORMS


class MaxPool(nn.Module):
    """``nn.MaxPool2d(3, stride=2, padding=1)`` without gradients: rows first, then columns; less than half the time."""

    def forward(self, maps: Tensor) -> Tensor:
        """Map ``[N, C, H, W]`` to ``[N, C, ceil(H / 2), ceil(W / 2)]``."""
        for dim in (2, 3):
            lines = maps.movedim(dim, 0)
            best, odd = lines[::2].clone(), lines[1::2]  # line 2 i, with 2 i + 1 and 2 i - 1
            for part, beside in ((best[: len(odd)], odd), (best[1:], odd[: len(best) - 1])):
                torch.maximum(part, beside, out=part)
            maps = best.movedim(0, dim)
        return maps
