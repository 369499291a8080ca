"""C3D: convolutions over space and time without shortcuts."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from avssl.encoders.base import Encoder
from avssl.encoders.conv import Conv3d
from avssl.encoders.scaled import FULL_WIDTH

STAGES = ((1,), (2,), (4, 4), (8, 8), (8, 8))  # channels of each convolution over those of the first


class C3D(Encoder):
    """C3D (Tran et al., ICCV 2015, section 3.3) up to its last convolution, without the layers of fixed size.

    Eight convolutions of 3 x 3 x 3; the first pooling is spatial only, so T' = T / 8, H' = H / 16. D is 8 x width.

    Args:
        width: channels of the first layer, a multiple of 8; 64 is the published network.
        normalised: batch normalisation after each convolution, which the paper did without; self-supervised methods
            (VCOP, Pace, RSPNet) train C3D with it.
    """

    min_clip = (8, 16, 16)

    def __init__(self, width: int = FULL_WIDTH, normalised: bool = True) -> None:
        if width <= 0 or width % 8:
            raise ValueError(f"C3D: width must be a positive multiple of 8, got {width}")
        super().__init__(8 * width, {"width": width, "normalised": normalised})
        sizes = pairwise([3, *(width * times for stage in STAGES for times in stage)])
        self.net = nn.Sequential()
        for place, stage in enumerate(STAGES):
            layers: list[nn.Module] = []
            if place:
                layers.append(nn.MaxPool3d((1, 2, 2) if place == 1 else 2))
            for _ in stage:
                before, after = next(sizes)
                conv = Conv3d(before, after, 3, padding=1)
                nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
                layers += [conv, *[nn.BatchNorm3d(after)] * normalised, nn.ReLU(inplace=True)]
            self.net.append(nn.Sequential(*layers))
        self.to(memory_format=torch.channels_last_3d)

    def maps(self, clips: Tensor) -> Tensor:  # noqa: D102
        self.check_clips(clips)
        return self.net(clips.transpose(1, 2).contiguous(memory_format=torch.channels_last_3d))
