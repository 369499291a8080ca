"""Residual networks over space and time that torchvision has not: those of contrastive and predictive methods' papers.

A convolution pads half of its kernel on each side; a smaller ``width`` scales the channels of every layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

from avssl.encoders.base import Encoder
from avssl.encoders.conv import Conv3d
from avssl.encoders.scaled import FULL_WIDTH

Size = tuple[int, int, int]  # in time, height and width
BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}  # He et al., CVPR 2016, table 1


class StagedEncoder(Encoder):
    """A stem and four stages of residual blocks, ``layer1`` to ``layer4``, one after the other.

    Args:
        num_features: D.
        config: see `Exportable`.
        stem: layers before the first stage.
        stages: blocks of each stage.
    """

    def __init__(
        self, num_features: int, config: dict[str, int], stem: nn.Sequential, stages: Sequence[Sequence[nn.Module]]
    ) -> None:
        super().__init__(num_features, config)
        self.stem = stem
        self.layer1, self.layer2, self.layer3, self.layer4 = (nn.Sequential(*blocks) for blocks in stages)
        for layer in self.modules():
            if isinstance(layer, nn.Conv3d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        self.to(memory_format=torch.channels_last_3d)

    def maps(self, clips: Tensor) -> Tensor:  # noqa: D102
        self.check_clips(clips)
        x = self.stem(clips.transpose(1, 2).contiguous(memory_format=torch.channels_last_3d))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


class Bottlenecks(StagedEncoder):
    """Residual network of 50 layers over clips; D is 32 x width, H' = H / 32.

    Each block has a convolution that may span several frames, a 3 x 3 one within a frame, and a pointwise one; only the
    stem and a pooling may stride in time (Feichtenhofer et al.: SlowFast, ICCV 2019, table 1).

    Args:
        width: channels of the first stage, a multiple of 8; 64 is the published network. Those of a stage's output
            are four times as many.
    """

    stem_time: ClassVar[tuple[int, int]]  # frames that the stem spans, and its stride in time
    spans: ClassVar[tuple[tuple[int, ...], ...]]  # frames that blocks of each stage span, repeated
    halved: ClassVar[bool]  # whether half of the frames are left after the first stage, by max pooling

    def __init__(self, width: int = FULL_WIDTH) -> None:
        _check_width(self, width)
        frames, stride = self.stem_time
        stem = nn.Sequential(
            _unit(3, width, (frames, 7, 7), (stride, 2, 2)),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
        )
        stages: list[list[nn.Module]] = []
        before = width
        for place, count in enumerate(BLOCKS[50]):
            inner, spans = width * 2**place, self.spans[place]
            blocks: list[nn.Module] = []
            for number in range(count):
                down = 2 if place and not number else 1
                blocks.append(_bottleneck(before, inner, spans[number % len(spans)], down))
                before = 4 * inner
            stages.append(blocks)
        if self.halved:
            stages[0].append(nn.MaxPool3d((2, 1, 1)))
        super().__init__(32 * width, {"width": width}, stem, stages)
        self.min_clip = (2 if self.halved else 1, 1, 1)


class SlowR50(Bottlenecks):
    """Slow-R50 (Feichtenhofer et al., ICCV 2019): no stride in time, so T' = T, and only the last stages span frames.

    The network of Feichtenhofer et al.: A Large-Scale Study on Unsupervised Spatiotemporal Representation Learning
    (CVPR 2021), there over 8 frames. See `Bottlenecks`.
    """

    stem_time = (1, 1)
    spans = ((1,), (1,), (3,), (3,))
    halved = False


class I3DR50(Bottlenecks):
    """I3D-R50 (Wang et al.: Non-local Neural Networks, CVPR 2018): every second block spans 3 frames; T' = T / 2.

    See `Bottlenecks`.
    """

    stem_time = (5, 1)
    spans = ((3,), (3, 1), (3, 1), (1, 3))
    halved = True


class C2DR50(Bottlenecks):
    """C2D-R50 (Wang et al., CVPR 2018): no convolution spans frames, only a pooling does; T' = T / 2.

    See `Bottlenecks`.
    """

    stem_time = (1, 1)
    spans = ((1,), (1,), (1,), (1,))
    halved = True


class R3D50(Bottlenecks):
    """R3D-50 (Qian et al.: CVRL, CVPR 2021, table 1): Slow-R50 with a stem of 5 frames and stride 2; T' = T / 2.

    See `Bottlenecks`.
    """

    stem_time = (5, 2)
    spans = ((1,), (1,), (3,), (3,))
    halved = False


class ResNet2D3D(StagedEncoder):
    """2D3D residual network (Han et al.: DPC, ICCVW 2019, section 4.1): the last two of four stages span frames.

    Each of these halves the frames, so T' = T / 4; H' = H / 32. The last stage has no more channels than the one before
    it, D = 4 x width, and its last block no final ReLU, since predicted features may be negative.

    Args:
        depth: 18 or 34.
        width: channels of the first stage, a multiple of 8; 64 is the published network.
    """

    def __init__(self, depth: int = 18, width: int = FULL_WIDTH) -> None:
        _check_width(self, width)
        if depth not in (18, 34):
            raise ValueError(f"ResNet2D3D: depth must be 18 or 34, got {depth}")
        stem = nn.Sequential(_unit(3, width, (1, 7, 7), (1, 2, 2)), nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)))
        stages: list[list[nn.Module]] = []
        channels = (width, width, 2 * width, 4 * width, 4 * width)
        for place, (before, after) in enumerate(pairwise(channels)):
            kernel: Size = (1, 3, 3) if place < 2 else (3, 3, 3)
            stride: Size = ((1, 1, 1), (1, 2, 2), (2, 2, 2), (2, 2, 2))[place]
            blocks: list[nn.Module] = []
            for number in range(BLOCKS[depth][place]):
                last = place == 3 and number == BLOCKS[depth][place] - 1
                branch = nn.Sequential(
                    _unit(after if number else before, after, kernel, (1, 1, 1) if number else stride),
                    _unit(after, after, kernel, relu=False),
                )
                shortcut = nn.Identity() if number or not place else _unit(before, after, stride=stride, relu=False)
                blocks.append(Residual(branch, shortcut, relu=not last))
            stages.append(blocks)
        super().__init__(4 * width, {"depth": depth, "width": width}, stem, stages)


class R2Plus1D10(StagedEncoder):
    """R(2+1)D of one block per stage, as VCOP (Xu et al., CVPR 2019), Pace, IIC and RSPNet train it; D is 8 x width.

    Unlike in torchvision's `R2Plus1D`, every convolution, also that of the stem and of a shortcut, is a spatial and a
    temporal one with so many channels between them that the parameters are those of a 3D convolution (Tran et al., CVPR
    2018, section 3.5). T' = T / 8.

    Args:
        width: channels of the first stage, a multiple of 8; 64 is the published network.
    """

    def __init__(self, width: int = FULL_WIDTH) -> None:
        _check_width(self, width)
        stem = nn.Sequential(_factored(3, width, (3, 7, 7), (1, 2, 2)))
        stages: list[list[nn.Module]] = []
        for before, after in pairwise((width, width, 2 * width, 4 * width, 8 * width)):
            stride: Size = (1, 1, 1) if before == after else (2, 2, 2)
            branch = nn.Sequential(
                _factored(before, after, (3, 3, 3), stride), _factored(after, after, (3, 3, 3), relu=False)
            )
            same = before == after
            shortcut = nn.Identity() if same else _factored(before, after, (1, 1, 1), stride, relu=False)
            stages.append([Residual(branch, shortcut)])
        super().__init__(8 * width, {"width": width}, stem, stages)


class Residual(nn.Module):
    """Sum of a branch and a shortcut, followed by a ReLU unless told otherwise."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module, relu: bool = True) -> None:
        super().__init__()
        self.branch, self.shortcut = branch, shortcut
        self.relu = nn.ReLU() if relu else nn.Identity()

    def forward(self, maps: Tensor) -> Tensor:
        """Map ``[B, C, T, H, W]`` to ``[B, D, T', H', W']``."""
        return self.relu(self.branch(maps) + self.shortcut(maps))


def _bottleneck(before: int, inner: int, frames: int, down: int) -> Residual:
    stride = (1, down, down)
    branch = nn.Sequential(
        _unit(before, inner, (frames, 1, 1)),
        _unit(inner, inner, (1, 3, 3), stride),
        _unit(inner, 4 * inner, relu=False),
    )
    same = before == 4 * inner
    return Residual(branch, nn.Identity() if same else _unit(before, 4 * inner, stride=stride, relu=False))


def _unit(
    before: int, after: int, kernel: Size = (1, 1, 1), stride: Size = (1, 1, 1), relu: bool = True
) -> nn.Sequential:
    """Return a convolution with batch normalisation and, unless told otherwise, a ReLU."""
    frames, height, width = kernel
    conv = Conv3d(before, after, kernel, stride, padding=(frames // 2, height // 2, width // 2), bias=False)
    return nn.Sequential(conv, nn.BatchNorm3d(after), *[nn.ReLU(inplace=True)] * relu)


def _factored(before: int, after: int, kernel: Size, stride: Size = (1, 1, 1), relu: bool = True) -> nn.Sequential:
    """Return a spatial and a temporal convolution in place of a 3D one (Tran et al., CVPR 2018, section 3.5)."""
    frames, height, width = kernel
    between = frames * height * width * before * after // (height * width * before + frames * after)
    return nn.Sequential(
        _unit(before, between, (1, height, width), (1, *stride[1:])),
        _unit(between, after, (frames, 1, 1), (stride[0], 1, 1), relu),
    )


def _check_width(encoder: Encoder, width: int) -> None:
    if width <= 0 or width % 8:
        raise ValueError(f"{type(encoder).__name__}: width must be a positive multiple of 8, got {width}")
