"""torchvision's image and video networks as encoders, at torchvision's size (width 64) or narrower.

The networks are torchvision's own modules without the classifier. At ``width=64`` weights are interchangeable with
torchvision's (`TorchvisionEncoder.torchvision_state_dict`, `load_torchvision`). A smaller width scales the channels of
every layer; depth, kernels and strides stay the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import torch
import torchvision
from einops import rearrange
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock
from torchvision.models.video import mc3_18, r2plus1d_18, r3d_18, s3d
from torchvision.models.video.resnet import BasicBlock as BasicBlock3d
from torchvision.models.video.resnet import BasicStem, Conv3DNoTemporal, Conv3DSimple
from torchvision.models.video.resnet import VideoResNet as TorchvisionVideoResNet

from avssl.encoders.base import Encoder, FrameEncoder
from avssl.encoders.conv import Conv2d, Conv3d

FULL_WIDTH = 64  # channels of the first layer of each of torchvision's networks here
CONVS = (nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm2d, nn.BatchNorm3d)
Norm = Literal["batch", "layer"]


class TorchvisionEncoder(Encoder):
    """A torchvision network without its classifier.

    Args:
        constructor: torchvision's constructor, called without weights.
        expansion: num_features / width.
        width: channels of the first layer, a positive multiple of 8; 64 is torchvision's network.
        config: see `Exportable`.
        norm: see `ResNet`.
    """

    net: Any  # torchvision's module, whose children are reached by torchvision's names
    classifier: ClassVar[str] = "fc"
    he_init: ClassVar[bool] = True

    def __init__(
        self,
        constructor: Callable[[], nn.Module],
        expansion: int,
        width: int,
        config: Mapping[str, Any],
        norm: Norm = "batch",
    ) -> None:
        if width <= 0 or width % 8:
            raise ValueError(f"{type(self).__name__}: width must be a positive multiple of 8, got {width}")
        super().__init__(num_features=expansion * width, config=config)
        with torch.device("meta"):  # only shapes: no memory, no random numbers
            plan = constructor()
        delattr(plan, self.classifier)
        self.net = _build(plan, width, self.he_init, norm)

    def torchvision_state_dict(self) -> dict[str, Tensor]:
        """Return the weights, without the classifier, for torchvision's ``load_state_dict(..., strict=False)``."""
        self._check_full_width()
        return {name: tensor.detach().contiguous().clone() for name, tensor in self.net.state_dict().items()}

    def load_torchvision(self, state: Mapping[str, Tensor]) -> None:
        """Load the weights of torchvision's network, ``torchvision_model.state_dict()``, except for its classifier.

        Raises:
            ValueError: if the width is not torchvision's.
            RuntimeError: if a tensor is missing, unexpected or of the wrong shape; lists each.
        """
        self._check_full_width()
        kept = {name: tensor for name, tensor in state.items() if not name.startswith(f"{self.classifier}.")}
        self.net.load_state_dict(kept, strict=True)

    def _check_full_width(self) -> None:
        norm = self.config.get("norm", "batch")
        if self.config["width"] != FULL_WIDTH or norm != "batch":
            raise ValueError(
                f"{type(self).__name__}(width={self.config['width']}) with {norm} normalisation is not torchvision's "
                f"network: only width={FULL_WIDTH} with batch normalisation shares its weights"
            )


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
    """Residual network over space and time; D is 8 x width, T' = T / 8 (in MC3 T' = T).

    Args:
        width: channels of the first layer; 64 is torchvision's network, 16 suits a CPU.
        differences: take the T - 1 differences between consecutive frames as input: "residual frames" (Tao, Wang,
            Yamasaki: Rethinking Motion Representation, 2020), which reveal little of scene and clothes and from which
            motion is learnt much sooner on small collections.
    """

    constructor: ClassVar[Callable[[], nn.Module]]

    def __init__(self, width: int = FULL_WIDTH, differences: bool = False) -> None:
        super().__init__(type(self).constructor, 8, width, config={"width": width, "differences": differences})
        self.differences = differences
        self.min_clip = (1 + differences, 1, 1)

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
    """R3D-18 (Tran et al., CVPR 2018): 3 x 3 x 3 convolutions. See `VideoResNet`."""

    constructor = staticmethod(r3d_18)


class R2Plus1D(VideoResNet):
    """R(2+1)D-18 (Tran et al., CVPR 2018): each 3D convolution as a spatial and a temporal one. See `VideoResNet`."""

    constructor = staticmethod(r2plus1d_18)


class MC3(VideoResNet):
    """MC3-18 (Tran et al., CVPR 2018): 3D convolutions in the first two stages, 2D above. See `VideoResNet`."""

    constructor = staticmethod(mc3_18)


class RMC(VideoResNet):
    """Reversed mixed convolutions: 2D in the first of four stages, where maps are large, 3D in the stem and above.

    After rMC3 (Tran et al., CVPR 2018, section 3) and the top-heavy networks of Xie et al. (ECCV 2018), with two
    changes: the stem is 3D, and there is one residual block per stage, 10 layers in all. A training step costs less
    than half of R3D's. It has no counterpart in torchvision; at width 64 its weights fit `RMC.constructor` only. See
    `VideoResNet`.
    """

    @staticmethod
    def constructor() -> nn.Module:
        """Return torchvision's network of these blocks."""
        stages = [Conv3DNoTemporal, Conv3DSimple, Conv3DSimple, Conv3DSimple]
        return TorchvisionVideoResNet(BasicBlock3d, stages, [1, 1, 1, 1], BasicStem)


class S3D(TorchvisionEncoder):
    """S3D (Xie et al., ECCV 2018): separable inception blocks; D is 16 x width, T' = T / 8.

    Args:
        width: channels of the first layer; 64 is torchvision's network, 16 suits a CPU.
    """

    classifier = "classifier"
    he_init = False
    min_clip = (5, 17, 17)

    def __init__(self, width: int = FULL_WIDTH) -> None:
        super().__init__(s3d, 16, width, config={"width": width})

    def maps(self, clips: Tensor) -> Tensor:  # noqa: D102
        self.check_clips(clips)
        return self.net.features(clips.transpose(1, 2).contiguous(memory_format=torch.channels_last_3d))


def _build(plan: nn.Module, width: int, he_init: bool, norm: Norm) -> nn.Module:
    """Allocate torchvision's network ``plan``, on the meta device, at ``width / 64`` of its channels.

    Its containers are kept, its convolutions and norms replaced. ``he_init`` is the normal fan-out initialisation of
    torchvision's residual networks instead of torch's default; the norm ``"layer"`` is a group norm of one group.
    """

    def scaled(channels: int) -> int:
        return channels if channels == 3 else max(1, round(channels * width / FULL_WIDTH))

    for name, layer in list(plan.named_modules()):
        new: nn.Module
        if isinstance(layer, CONVS):
            conv: type[nn.Module] = Conv2d if isinstance(layer, nn.Conv2d) else Conv3d
            shape = (scaled(layer.in_channels), scaled(layer.out_channels), layer.kernel_size)
            new = conv(*shape, stride=layer.stride, padding=layer.padding, bias=layer.bias is not None)
            if he_init:
                nn.init.kaiming_normal_(new.weight, mode="fan_out", nonlinearity="relu")  # type: ignore[arg-type]
        elif isinstance(layer, NORMS) and norm == "layer":
            new = nn.GroupNorm(1, scaled(layer.num_features), eps=layer.eps)
        elif isinstance(layer, NORMS):
            new = type(layer)(scaled(layer.num_features), eps=layer.eps, momentum=layer.momentum)
        else:
            continue
        parent, _, child = name.rpartition(".")
        setattr(plan.get_submodule(parent), child, new)
    flat = any(isinstance(layer, nn.Conv2d) for layer in plan.modules())
    return plan.to(memory_format=torch.channels_last if flat else torch.channels_last_3d)
