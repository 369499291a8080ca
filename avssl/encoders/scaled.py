"""torchvision's modules without their classifier, at torchvision's width or with fewer channels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

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
        other = {name: value for name, value in self.config.items() if name in ("norm", "gated", "strides")}
        if self.config["width"] != FULL_WIDTH or other:
            options = ", ".join(f"{name}={value}" for name, value in {"width": self.config["width"], **other}.items())
            raise ValueError(
                f"{type(self).__name__}({options}) is not torchvision's network: only width={FULL_WIDTH} with batch "
                "normalisation and its own strides, without gates, shares its weights"
            )


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
