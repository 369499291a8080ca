"""Image networks of the library timm as frame encoders, with weights from a local file."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn

from avssl.encoders.base import FrameEncoder
from avssl.encoders.efficientnet import timm_names
from avssl.encoders.weights import copied, fit, make_convolutions_safe, pair, read_weights

STRIDES = (4, 8, 16, 32)  # of the maps that `FrameEncoder.stages` returns


class Timm(FrameEncoder):
    """An image network of timm, its own module up to the last maps; D is their number of channels.

    What timm computes after the maps is left out: pooling, norms and projections of pooled features, the classifier.
    Maps of a transformer are its patch tokens, normalised as in timm. `stages` needs maps at strides 4, 8, 16 and 32,
    which transformers of a single resolution don't have.

    The card holds mean, standard deviation and size of timm's data config of the name.

    Args:
        name: timm's name of the network, e.g. ``resnet50`` or ``vit_base_patch16_224.mae``.
        path: file of weights, ``.pth`` or ``.safetensors``, with or without the classifier; None for new weights. Files
            of efficientnet_pytorch and efficientnet_lite_pytorch fit timm's ``tf_efficientnet_*`` too.
        options: further arguments of the network; ``{dynamic_img_size: true}`` lets a vision transformer take frames of
            any size.

    Attributes:
        dropped: names of timm's weights that are left out.

    Raises:
        ImportError: if timm is not installed.
        FileNotFoundError: if there is no such file.
        ValueError: if the name is unknown, or a tensor of the file is missing, unexpected or of the wrong shape.
    """

    net: Any  # timm's module

    def __init__(self, name: str, path: str | None = None, options: dict[str, Any] | None = None) -> None:
        given = json.loads(json.dumps(options or {}))  # as an export gives them
        plan = _plan(name, given)
        super().__init__(plan.width, {"name": name, "options": given} if given else {"name": name})
        self.name, self.net = name, _timm().create_model(name, pretrained=False, num_classes=0, **given)
        _drop_unused(self.net, plan.used)
        self.dropped = sorted(plan.names - self.net.state_dict().keys())
        make_convolutions_safe(self.net)
        if path is not None:
            fit(self.net, timm_names(read_weights(path), self.net), path, self.dropped)
        self.card = {
            **{
                "mean": list(plan.data["mean"]),
                "std": list(plan.data["std"]),
                "size": list(plan.data["input_size"][1:]),
            },
            "source": {"library": "timm", "name": name, "weights": None if path is None else Path(path).name},
        }

    @property
    def stage_channels(self) -> tuple[int, ...]:
        """Channels of the maps that `stages` returns."""
        info = self._stage_info()
        return (*(info[index]["num_chs"] for index in self._stage_indices()), self.num_features)

    def stages(self, clips: Tensor) -> list[Tensor]:  # noqa: D102
        indices = self._stage_indices()
        last, maps = self.net.forward_intermediates(self._images(clips), indices=indices, output_fmt="NCHW")
        return [*maps, self.as_maps(last, clips)]

    def maps(self, clips: Tensor) -> Tensor:  # noqa: D102
        return rearrange(self._last(clips), "(b t) d h w -> b d t h w", t=clips.shape[1])

    def frames(self, clips: Tensor) -> Tensor:  # noqa: D102
        vectors = self._last(clips).mean(dim=(2, 3), dtype=torch.float32)  # [B*T, D]
        return rearrange(vectors, "(b t) d -> b t d", t=clips.shape[1])

    def original_state_dict(self) -> dict[str, Tensor]:
        """Return the weights under timm's names, without those in `dropped`."""
        return copied(self.net)

    def _last(self, clips: Tensor) -> Tensor:
        return self.as_maps(self.net.forward_features(self._images(clips)), clips)

    def _images(self, clips: Tensor) -> Tensor:
        self.check_clips(clips)
        embed: Any = getattr(self.net, "patch_embed", None)
        if getattr(embed, "strict_img_size", False) and tuple(clips.shape[3:]) != tuple(embed.img_size):
            raise ValueError(
                f"Timm: {self.name} takes frames of {embed.img_size} (height, width), got {tuple(clips.shape[3:])}. "
                "Give such frames, or options: {dynamic_img_size: true} if it is a vision transformer"
            )
        return rearrange(clips, "b t c h w -> (b t) c h w")

    def as_maps(self, features: Tensor, clips: Tensor) -> Tensor:
        """Return what ``forward_features`` gives, maps or tokens in any order of axes, as ``[B*T, D, h, w]``."""
        if features.ndim == 4:
            return features.permute(0, 3, 1, 2) if getattr(self.net, "output_fmt", "NCHW") == "NHWC" else features
        tokens = features[:, getattr(self.net, "num_prefix_tokens", 0) :]
        height = round(math.sqrt(tokens.shape[1] * clips.shape[3] / clips.shape[4]))
        return rearrange(tokens, "b (h w) d -> b d h w", h=height)

    def _stage_info(self) -> list[dict[str, Any]]:
        info = self.net.feature_info
        return list(getattr(info, "info", info))

    def _stage_indices(self) -> list[int]:
        """Return which of timm's features have the first three strides, the last of each."""
        found = {layer["reduction"]: index for index, layer in enumerate(self._stage_info())}
        if not found.keys() >= set(STRIDES):
            raise ValueError(
                f"Timm: {self.name} has maps at strides {sorted(found)}, and stages needs {STRIDES}. Use a network "
                "with four of them: a ResNet, ConvNeXt, EfficientNet or Swin"
            )
        return [found[stride] for stride in STRIDES[:-1]]


class _Plan(NamedTuple):
    """Facts about a network, found without memory for its weights.

    Attributes:
        used: names of the parameters that the last maps depend on.
        names: names in its state dict, with the classifier.
        width: channels of the last maps.
        data: timm's data config.
    """

    used: set[str]
    names: set[str]
    width: int
    data: dict[str, Any]


def _plan(name: str, options: dict[str, Any]) -> _Plan:
    timm = _timm()
    if not timm.is_model(name):
        near = ", ".join(timm.list_models(f"*{name.split('_')[0]}*")[:8])
        raise ValueError(
            f"Timm: timm {timm.__version__} has no network {name!r}" + (f"; it has {near}, ..." if near else "")
        )
    with torch.device("meta"), torch.inference_mode(False), torch.enable_grad():
        net = timm.create_model(name, pretrained=False, **options)
        data = timm.data.resolve_model_data_config(net)
        if "img_size" in options:
            data["input_size"] = (3, *pair(options["img_size"]))
        features = net.forward_features(torch.zeros(1, *data["input_size"]))
        features.sum().backward()
    used = {key for key, weights in net.named_parameters() if weights.grad is not None}
    last = features.ndim == 3 or getattr(net, "output_fmt", "NCHW") == "NHWC"
    return _Plan(used, set(net.state_dict()), features.shape[-1 if last else 1], data)


def _drop_unused(net: nn.Module, used: set[str], prefix: str = "") -> None:
    """Replace each part of a network none of whose parameters is used."""
    for name, child in list(net.named_children()):
        inside = [f"{prefix}{name}.{key}" for key, _ in child.named_parameters()]
        if inside and not used.intersection(inside):
            setattr(net, name, nn.Identity())
        else:
            _drop_unused(child, used, f"{prefix}{name}.")


def _timm() -> Any:
    try:
        import timm
    except ImportError as error:
        raise ImportError(f"{error}. timm's networks need the extra: pip install 'avssl[timm]'") from error
    return timm
