"""torchvision's image and video networks as encoders, at torchvision's size (width 64) or narrower.

The networks are torchvision's own modules with the classifier removed. At ``width=64`` they are exactly
torchvision's: weights go both ways (`TorchvisionEncoder.torchvision_state_dict`, `load_torchvision`). A smaller width
divides the channels of every layer and leaves depth, kernels and strides as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock
from torchvision.models.video import mc3_18, r2plus1d_18, r3d_18, s3d
from torchvision.models.video.resnet import BasicBlock as BasicBlock3d
from torchvision.models.video.resnet import BasicStem, Conv3DNoTemporal, Conv3DSimple
from torchvision.models.video.resnet import VideoResNet as TorchvisionVideoResNet

from avssl.encoders.base import Encoder
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
        width: channels of the first layer, a multiple of 8; 64 is torchvision's network.
        config: see `Encoder`.
        norm: see `ResNet`.

    Raises:
        ValueError: where the width is not a positive multiple of 8.
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
        with torch.device("meta"):  # the plan of the network only: shapes, no memory, no random numbers
            plan = constructor()
        delattr(plan, self.classifier)
        self.net = _build(plan, width, self.he_init, norm)

    def torchvision_state_dict(self) -> dict[str, Tensor]:
        """The weights under torchvision's names, for ``constructor().load_state_dict(..., strict=False)``.

        Only the classifier is missing.

        Raises:
            ValueError: where the width is not torchvision's.
        """
        self._check_full_width()
        return {name: tensor.detach().contiguous().clone() for name, tensor in self.net.state_dict().items()}

    def load_torchvision(self, state: Mapping[str, Tensor]) -> None:
        """Take over the weights of torchvision's network; its classifier is left out.

        Args:
            state: ``torchvision_model.state_dict()``.

        Raises:
            ValueError: where the width is not torchvision's.
            RuntimeError: where a tensor is missing, unexpected or of another shape; each is listed.
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


class ResNet(TorchvisionEncoder):
    """2D residual network (He et al., CVPR 2016) over each frame on its own; T' = T, `forward` averages over time.

    Args:
        depth: 18 or 50.
        width: channels of the first layer; 64 is torchvision's network, 16 suits a CPU. D is 8 x width, at depth 50
            32 x width.
        norm: ``"layer"`` replaces each batch normalisation by one over all channels and places of a frame, so that
            frames (or patches) of a batch don't know of each other (CPC v2: Henaff et al., ICML 2020, section 2.1).

    Raises:
        ValueError: for another depth, or a width that is not a multiple of 8.
    """

    per_frame = True

    def __init__(self, depth: int = 18, width: int = FULL_WIDTH, norm: Norm = "batch") -> None:
        plans = {18: (torchvision.models.resnet18, 8), 50: (torchvision.models.resnet50, 32)}
        if depth not in plans:
            raise ValueError(f"ResNet: depth must be one of {sorted(plans)}, got {depth}")
        constructor, expansion = plans[depth]
        config: dict[str, int | str] = {"depth": depth, "width": width}
        if norm != "batch":  # exports made before there was a choice keep their hash
            config["norm"] = norm
        super().__init__(constructor, expansion, width, config, norm)

    def maps(self, clips: Tensor) -> Tensor:  # noqa: D102
        batch = clips.shape[0]
        return self._frame_maps(clips).unflatten(0, (batch, -1)).transpose(1, 2)  # [B, D, T, H', W']

    def frames(self, clips: Tensor) -> Tensor:
        """One vector a frame, all frames in one batched call.

        Args:
            clips: ``[B, T, 3, H, W]`` float, normalised.

        Returns:
            ``[B, T, D]`` float32.
        """
        vectors = self._frame_maps(clips).mean(dim=(2, 3), dtype=torch.float32)  # [B*T, D]
        return vectors.unflatten(0, (clips.shape[0], -1))

    @property
    def stage_channels(self) -> tuple[int, int, int, int]:
        """Channels of the maps that `stages` returns."""
        first = self.num_features // 8
        return first, 2 * first, 4 * first, 8 * first

    def stages(self, clips: Tensor) -> list[Tensor]:
        """The maps of all four stages, for heads that need more detail than the last one has.

        Args:
            clips: ``[B, T, 3, H, W]`` float, normalised.

        Returns:
            Four ``[B*T, C, h, w]``, at a quarter, an eighth, a 16th and a 32nd of the picture's sides.
        """
        self.check_clips(clips)
        net = self.net
        x = clips.flatten(0, 1).contiguous(memory_format=torch.channels_last)  # [B*T, 3, H, W]
        x = net.relu(
            net.maxpool(net.bn1(net.conv1(x)))
        )  # in torchvision ReLU comes first: the same, on 4 times as much
        found = []
        for stage in (net.layer1, net.layer2, net.layer3, net.layer4):
            x = stage(x)
            found.append(x)
        return found

    def forward(self, clips: Tensor) -> Tensor:  # noqa: D102
        return self.frames(clips).mean(dim=1)

    def _frame_maps(self, clips: Tensor) -> Tensor:
        return self.stages(clips)[-1]


class EarlyFusion(TorchvisionEncoder):
    """2D residual network whose first convolution spans a few frames (SyncNet: Chung & Zisserman, ACCVW 2016, fig. 3).

    Nothing is padded in time: map t sees frames t to t + window - 1 and no others, so that a longer clip gives the maps
    of all its windows at once, and no map knows where the clip ends. T' = T - window + 1; D is 8 x width. The first
    kernels begin with a mean over time of zero: the untrained network sees what changes, not what stays.

    Args:
        width: channels of the first layer.
        depth: 10 (one residual block a stage) or 18 (two).
        window: frames that the first convolution spans (SyncNet: 5, 0.2 s).

    Raises:
        ValueError: for another depth, or a width that is not a multiple of 8.
    """

    def __init__(self, width: int = FULL_WIDTH, depth: int = 18, window: int = 5) -> None:
        if depth not in (10, 18):
            raise ValueError(f"EarlyFusion: depth must be 10 or 18, got {depth}")
        blocks = [1, 1, 1, 1] if depth == 10 else [2, 2, 2, 2]
        super().__init__(
            lambda: torchvision.models.ResNet(BasicBlock, blocks),
            8,
            width,
            config={"width": width, "depth": depth, "window": window},
        )
        self.window, self.min_clip = window, (window, 1, 1)
        self.net.conv1 = Conv3d(3, width, (window, 7, 7), stride=(1, 2, 2), padding=(0, 3, 3), bias=False)
        nn.init.kaiming_normal_(self.net.conv1.weight, mode="fan_out", nonlinearity="relu")
        with torch.no_grad():
            self.net.conv1.weight -= self.net.conv1.weight.mean(2, keepdim=True)

    def maps(self, clips: Tensor) -> Tensor:  # noqa: D102
        self.check_clips(clips)
        net = self.net
        x = net.conv1(clips.transpose(1, 2).contiguous(memory_format=torch.channels_last_3d))  # [B, C, T', H', W']
        x = x.transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)  # [B*T', C, H', W']
        x = net.relu(net.maxpool(net.bn1(x)))
        x = net.layer4(net.layer3(net.layer2(net.layer1(x))))
        return x.unflatten(0, (len(clips), -1)).transpose(1, 2)


class VideoResNet(TorchvisionEncoder):
    """Residual network over space and time; D is 8 x width, T' = T / 8 (in MC3 T' = T).

    With ``differences`` it sees what changes from each frame to the next, and of T frames T - 1 differences: "residual
    frames" (Tao, Wang, Yamasaki: Rethinking Motion Representation, 2020), which say little of scene and clothes and
    with which small collections teach motion much sooner.

    Args:
        width: channels of the first layer; 64 is torchvision's network, 16 suits a CPU.
        differences: see above.
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
        """What the stem sees of clips ``[B, T, 3, H, W]``: ``[B, 3, T or T - 1, H, W]``."""
        self.check_clips(clips)
        seen = clips.diff(dim=1) if self.differences else clips
        return seen.transpose(1, 2).contiguous(memory_format=torch.channels_last_3d)


class R3D(VideoResNet):
    """R3D-18 (Tran et al., CVPR 2018): 3 x 3 x 3 convolutions.

    Args:
        width: channels of the first layer; 64 is torchvision's network, 16 suits a CPU.
        differences: see the differences between frames, not the frames (`VideoResNet`).
    """

    constructor = staticmethod(r3d_18)


class R2Plus1D(VideoResNet):
    """R(2+1)D-18 (Tran et al., CVPR 2018): each 3D convolution as a spatial one and a temporal one.

    Args:
        width: channels of the first layer; 64 is torchvision's network, 16 suits a CPU.
        differences: see the differences between frames, not the frames (`VideoResNet`).
    """

    constructor = staticmethod(r2plus1d_18)


class MC3(VideoResNet):
    """MC3-18 (Tran et al., CVPR 2018): 3D convolutions in the first two stages, 2D above.

    Args:
        width: channels of the first layer; 64 is torchvision's network, 16 suits a CPU.
        differences: see the differences between frames, not the frames (`VideoResNet`).
    """

    constructor = staticmethod(mc3_18)


class RMC(VideoResNet):
    """Reversed mixed convolutions: 2D ones in the first of four stages, where maps are large, 3D ones above and below.

    After rMC3 (Tran et al., CVPR 2018, section 3) and the top-heavy networks of Xie et al. (ECCV 2018), with two
    changes: the stem stays 3D, and there is one residual block a stage, 10 layers in all. A training step costs less
    than half of one of R3D's. It has no counterpart in torchvision; weights of width 64 go to and from
    `RMC.constructor` only.

    Args:
        width: channels of the first layer; 16 suits a CPU.
        differences: see the differences between frames, not the frames (`VideoResNet`).
    """

    @staticmethod
    def constructor() -> nn.Module:
        """Torchvision's network of these blocks."""
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
    """Give each layer of a network on the meta device its memory, at ``width / 64`` of its channels.

    Args:
        plan: torchvision's network; its containers are kept, its convolutions and norms replaced.
        width: channels of the first layer.
        he_init: normal fan-out initialisation, as torchvision's residual networks have; otherwise torch's default.
        norm: layer normalisation (as one group) takes the place of batch normalisation where it is ``"layer"``.
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
