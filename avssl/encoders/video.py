"""torchvision's image and video networks as encoders, at torchvision's size (width 64) or narrower.

The networks are torchvision's own modules without the classifier. At ``width=64`` weights are interchangeable with
torchvision's (`TorchvisionEncoder.torchvision_state_dict`, `load_torchvision`). A smaller width scales the channels of
every layer; depth, kernels and strides stay the same.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torchvision
from einops import rearrange
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock
from torchvision.models.video import s3d
from torchvision.models.video.resnet import BasicBlock as BasicBlock3d
from torchvision.models.video.resnet import BasicStem, Conv2Plus1D, Conv3DNoTemporal, Conv3DSimple, R2Plus1dStem
from torchvision.models.video.resnet import VideoResNet as TorchvisionVideoResNet
from torchvision.models.video.s3d import SepInceptionBlock3D

from avssl.encoders.base import FrameEncoder
from avssl.encoders.conv import Conv3d
from avssl.encoders.scaled import FULL_WIDTH, NORMS, Norm, TorchvisionEncoder
from avssl.runtime.checks import check_ranges

BLOCKS = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}  # by depth, of the four stages
STRIDES = (2, 2, 2)  # of torchvision's networks, in time


class ResNet(FrameEncoder, TorchvisionEncoder):
    """2D residual network (He et al., CVPR 2016) over single frames; T' = T, `forward` averages over time.

    Args:
        depth: 18 or 50.
        width: channels of the first layer, a multiple of 8; 64 is torchvision's network, 16 suits a CPU. D is 8 x
            width, or 32 x width at depth 50.
        norm: ``"layer"`` replaces batch normalisation by layer normalisation over all channels and positions of a
            frame, so that frames (or patches) of a batch are independent (CPC v2: Henaff et al., ICML 2020, section
            2.1).
    """

    def __init__(self, depth: int = 18, width: int = FULL_WIDTH, norm: Norm = "batch") -> None:
        plans = {18: (torchvision.models.resnet18, 8), 50: (torchvision.models.resnet50, 32)}
        if depth not in plans:
            raise ValueError(f"ResNet: depth must be one of {sorted(plans)}, got {depth}")
        constructor, expansion = plans[depth]
        config: dict[str, int | str] = {"depth": depth, "width": width}
        if norm != "batch":  # left out otherwise, so that exports from before this option keep their hash
            config["norm"] = norm
        super().__init__(constructor, expansion, width, config, norm)

    @property
    def stage_channels(self) -> tuple[int, int, int, int]:
        """Channels of the maps that `stages` returns."""
        first = self.num_features // 8
        return first, 2 * first, 4 * first, 8 * first

    def stages(self, clips: Tensor) -> list[Tensor]:  # noqa: D102
        self.check_clips(clips)
        net = self.net
        x = rearrange(clips, "b t c h w -> (b t) c h w").contiguous(memory_format=torch.channels_last)
        x = net.relu(net.maxpool(net.bn1(net.conv1(x))))  # torchvision's ReLU is before the pooling: same, but slower
        found = []
        for stage in (net.layer1, net.layer2, net.layer3, net.layer4):
            x = stage(x)
            found.append(x)
        return found


class EarlyFusion(TorchvisionEncoder):
    """2D residual network whose first convolution spans a few frames (SyncNet: Chung & Zisserman, ACCVW 2016, fig. 3).

    Nothing is padded in time: map t sees only frames t to t + window - 1, so a longer clip gives the maps of all its
    windows at once, and no map reveals where the clip ends. T' = T - window + 1; D is 8 x width. The first kernels are
    initialised with zero mean over time: the untrained network sees change, not what is static.

    Args:
        width: channels of the first layer, a multiple of 8.
        depth: 10 (one residual block per stage) or 18 (two).
        window: frames that the first convolution spans (SyncNet: 5, 0.2 s).
    """

    def __init__(self, width: int = FULL_WIDTH, depth: int = 18, window: int = 5) -> None:
        if depth not in (10, 18):
            raise ValueError(f"EarlyFusion: depth must be 10 or 18, got {depth}")
        blocks = [1, 1, 1, 1] if depth == 10 else [2, 2, 2, 2]
        config = {"width": width, "depth": depth, "window": window}
        super().__init__(lambda: torchvision.models.ResNet(BasicBlock, blocks), 8, width, config)
        self.window, self.min_clip = window, (window, 1, 1)
        self.net.conv1 = Conv3d(3, width, (window, 7, 7), stride=(1, 2, 2), padding=(0, 3, 3), bias=False)
        nn.init.kaiming_normal_(self.net.conv1.weight, mode="fan_out", nonlinearity="relu")
        with torch.no_grad():
            self.net.conv1.weight -= self.net.conv1.weight.mean(2, keepdim=True)

    def maps(self, clips: Tensor) -> Tensor:  # noqa: D102
        self.check_clips(clips)
        net = self.net
        x = net.conv1(clips.transpose(1, 2).contiguous(memory_format=torch.channels_last_3d))  # [B, C, T', H', W']
        x = rearrange(x, "b c t h w -> (b t) c h w").contiguous(memory_format=torch.channels_last)
        x = net.relu(net.maxpool(net.bn1(x)))
        x = net.layer4(net.layer3(net.layer2(net.layer1(x))))
        return rearrange(x, "(b t) d h w -> b d t h w", b=len(clips))


class VideoResNet(TorchvisionEncoder):
    """Residual network over space and time; D is 8 x width, T' = T / 8 (in MC3 T' = T), or less by ``strides``.

    Args:
        width: channels of the first layer; 64 is torchvision's network, 16 suits a CPU.
        differences: take the T - 1 differences between consecutive frames as input: "residual frames" (Tao, Wang,
            Yamasaki: Rethinking Motion Representation, 2020), which reveal little of scene and clothes and from which
            motion is learnt much sooner on small collections.
        depth: 18; 34; or 10, one block per stage (R3D of this depth is that of VCOP: Xu et al., CVPR 2019).
            torchvision publishes networks of 18.
        strides: steps in time of the second, third and fourth stage, each 1 or 2; with (2, 1, 1), 8 frames give 4 steps
            of time. Weights keep their shapes.
    """

    convolutions: ClassVar[tuple[type[nn.Module], ...]]
    stem: ClassVar[type[nn.Module]] = BasicStem

    def __init__(
        self,
        width: int = FULL_WIDTH,
        differences: bool = False,
        depth: int = 18,
        strides: tuple[int, int, int] = STRIDES,
    ) -> None:
        if depth not in BLOCKS:
            raise ValueError(f"{type(self).__name__}: depth must be one of {sorted(BLOCKS)}, got {depth}")
        check_ranges(type(self).__name__, {"strides": strides}, strides="[1, 2]")
        config: dict[str, Any] = {"width": width, "differences": differences}
        if depth != 18:  # left out otherwise, so that exports from before this option keep their hash
            config["depth"] = depth
        if tuple(strides) != STRIDES:
            config["strides"] = list(strides)
        super().__init__(lambda: type(self).constructor(depth), 8, width, config)
        for stage, stride in zip((self.net.layer2, self.net.layer3, self.net.layer4), strides, strict=True):
            for layer in stage.modules():
                if isinstance(layer, nn.Conv3d) and layer.stride[0] == 2:
                    layer.stride = (stride, *layer.stride[1:])
        self.differences = differences
        self.min_clip = (1 + differences, 1, 1)

    @classmethod
    def constructor(cls, depth: int = 18) -> nn.Module:
        """Return torchvision's network."""
        return TorchvisionVideoResNet(BasicBlock3d, cls.convolutions, list(BLOCKS[depth]), cls.stem)

    def maps(self, clips: Tensor) -> Tensor:  # noqa: D102
        net = self.net
        x = net.stem(self.channels_first(clips))
        return net.layer4(net.layer3(net.layer2(net.layer1(x))))

    def channels_first(self, clips: Tensor) -> Tensor:
        """Return the stem's input of clips ``[B, T, 3, H, W]``: ``[B, 3, T or T - 1, H, W]``."""
        self.check_clips(clips)
        seen = clips.diff(dim=1) if self.differences else clips
        return seen.transpose(1, 2).contiguous(memory_format=torch.channels_last_3d)


class R3D(VideoResNet):
    """R3D (Tran et al., CVPR 2018): 3 x 3 x 3 convolutions. See `VideoResNet`."""

    convolutions = (Conv3DSimple,) * 4


class R2Plus1D(VideoResNet):
    """R(2+1)D (Tran et al., CVPR 2018): each 3D convolution as a spatial and a temporal one. See `VideoResNet`.

    VCOP and others train a network of 10 layers whose factors differ from torchvision's: `R2Plus1D10`.
    """

    convolutions = (Conv2Plus1D,) * 4
    stem = R2Plus1dStem


class MC3(VideoResNet):
    """MC3 (Tran et al., CVPR 2018): 3D convolutions in stem and first stage, 2D above. See `VideoResNet`."""

    convolutions = (Conv3DSimple, *(Conv3DNoTemporal,) * 3)


class RMC(VideoResNet):
    """Reversed mixed convolutions: 2D in the first of four stages, where maps are large, 3D in the stem and above.

    After rMC3 (Tran et al., CVPR 2018, section 3) and the top-heavy networks of Xie et al. (ECCV 2018), with two
    changes: the stem is 3D, and there is one residual block per stage, 10 layers in all. A training step costs less
    than half of R3D's. It has no counterpart in torchvision; at width 64 its weights fit `RMC.constructor` only.

    Args:
        width: see `VideoResNet`.
        differences: see `VideoResNet`.
        strides: see `VideoResNet`.
    """

    convolutions = (Conv3DNoTemporal, *(Conv3DSimple,) * 3)

    def __init__(
        self, width: int = FULL_WIDTH, differences: bool = False, strides: tuple[int, int, int] = STRIDES
    ) -> None:
        super().__init__(width, differences, strides=strides)

    @classmethod
    def constructor(cls, depth: int = 10) -> nn.Module:
        """Return torchvision's network of these blocks."""
        return super().constructor(10)


class S3D(TorchvisionEncoder):
    """S3D (Xie et al., ECCV 2018): separable inception blocks; D is 16 x width, T' = T / 8.

    Args:
        width: channels of the first layer; 64 is torchvision's network, 16 suits a CPU.
        gated: scale channels by what the whole clip shows, after each of the four branches of a block (S3D-G: section
            4.4, `Gate`). torchvision has no such network.
    """

    classifier = "classifier"
    he_init = False
    min_clip = (5, 17, 17)

    def __init__(self, width: int = FULL_WIDTH, gated: bool = False) -> None:
        config: dict[str, int] = {"width": width}
        if gated:  # left out otherwise, so that exports from before this option keep their hash
            config["gated"] = gated
        super().__init__(s3d, 16, width, config)
        for block in self.net.modules() if gated else ():
            if isinstance(block, SepInceptionBlock3D):
                for branch in (block.branch0, block.branch1, block.branch2, block.branch3):
                    norms = [layer for layer in branch.modules() if isinstance(layer, NORMS)]
                    branch.append(Gate(norms[-1].num_features))

    def maps(self, clips: Tensor) -> Tensor:  # noqa: D102
        self.check_clips(clips)
        return self.net.features(clips.transpose(1, 2).contiguous(memory_format=torch.channels_last_3d))


class Gate(nn.Linear):
    """Scale each channel by a sigmoid of a linear map of all channels' means (Xie et al., ECCV 2018, section 4.4)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels)

    def forward(self, input: Tensor) -> Tensor:
        """Map ``[B, C, T, H, W]`` to the same shape."""
        return input * super().forward(input.mean((2, 3, 4))).sigmoid()[:, :, None, None, None]
