"""The same network, quicker, for features only."""

from __future__ import annotations

import copy
from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from avssl.encoders.base import Encoder

CONVS = (nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm2d, nn.BatchNorm3d)


def for_inference(encoder: Encoder, half: bool = False) -> Encoder:
    """A copy in eval mode whose batch normalisations are part of the convolutions before them.

    Only where the network's definition lets the one follow the other directly, as in torchvision's networks; all else
    stays as it is. The result is that of ``encoder.eval()`` up to rounding.

    Args:
        encoder: on any device; left as it is.
        half: for use under bfloat16 autocast only, whose results don't change: the weights that autocast would convert
            at each call are converted here.
    """
    quick = copy.deepcopy(encoder).eval()
    for module in list(quick.modules()):
        for (first, conv), (second, norm) in pairwise(list(module.named_children())):
            if isinstance(conv, CONVS) and isinstance(norm, NORMS) and conv.out_channels == norm.num_features:
                setattr(module, first, fuse_conv_bn_eval(conv, norm))
                setattr(module, second, nn.Identity())
    if half:
        for layer in quick.modules():
            if isinstance(layer, (*CONVS, nn.Linear)):
                layer.to(torch.bfloat16)
    return quick
