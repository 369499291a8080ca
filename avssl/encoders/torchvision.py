"""torchvision's video networks at their own size, with weights from a local file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import torch
import torchvision
from einops import rearrange
from torch import Tensor, nn

from avssl.encoders.base import Encoder
from avssl.encoders.weights import copied, fit, make_convolutions_safe, read_weights

Name = Literal[
    "r3d_18",
    "mc3_18",
    "r2plus1d_18",
    "s3d",
    "mvit_v1_b",
    "mvit_v2_s",
    "swin3d_t",
    "swin3d_s",
    "swin3d_b",
]
HEADS = ("fc", "classifier", "head")  # torchvision's names of a classifier, which is dropped


class Torchvision(Encoder):
    """A video network of torchvision, its own module without the classifier.

    The card holds the mean, standard deviation and size by which torchvision prepares pixels for the weights that it
    publishes of this network; training and evaluation normalise by them. Weights are read from a local file, e.g. one
    of https://docs.pytorch.org/vision/stable/models.html#video-classification, and nothing is downloaded.

    The maps of MViT are those of its tokens without the class token. mvit_v1_b has position codes for clips of 16 x 224
    x 224 only; the others take clips of any size.

    The residual networks and S3D exist as encoders of any width too: `R3D`, `MC3`, `R2Plus1D` and `S3D`.

    Args:
        name: torchvision's name of the network.
        weights: file of torchvision's weights, ``.pth`` or ``.safetensors``, with or without the classifier; None for
            new weights.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the network is unknown, or a tensor of the file is missing, unexpected or of the wrong shape.
    """

    net: Any  # torchvision's module, whose children are reached by torchvision's names
    least: ClassVar[dict[str, tuple[int, int, int]]] = {"s3d": (5, 17, 17)}

    def __init__(self, name: Name, weights: str | None = None) -> None:
        constructor = _constructor(name)
        net = constructor()
        prefix, width = _drop_head(net)
        super().__init__(width, {"name": name})
        make_convolutions_safe(net)
        self.name, self.net, self.min_clip = name, net, self.least.get(name, (1, 1, 1))
        if weights is not None:
            fit(net, read_weights(weights), weights, [prefix])
        prepared = torchvision.models.get_model_weights(name).DEFAULT.transforms()
        source = {"library": "torchvision", "name": name, "weights": None if weights is None else Path(weights).name}
        mean, std, size = list(prepared.mean), list(prepared.std), list(prepared.crop_size)
        self.card = {"mean": mean, "std": std, "size": size, "source": source}

    def maps(self, clips: Tensor) -> Tensor:  # noqa: D102
        self.check_clips(clips)
        net = self.net
        video = clips.transpose(1, 2)  # [B, 3, T, H, W]
        if self.name.startswith("mvit"):
            return self._multiscale(video)
        if self.name.startswith("swin"):
            found = net.norm(net.features(net.pos_drop(net.patch_embed(video))))
            return rearrange(found, "b t h w d -> b d t h w")
        video = video.contiguous(memory_format=torch.channels_last_3d)
        if self.name == "s3d":
            return net.features(video)
        return net.layer4(net.layer3(net.layer2(net.layer1(net.stem(video)))))

    def original_state_dict(self) -> dict[str, Tensor]:
        """Return the weights under torchvision's names, without the classifier."""
        return copied(self.net)

    def _multiscale(self, video: Tensor) -> Tensor:
        net = self.net
        x = net.conv_proj(video)
        sizes = tuple(x.shape[2:])
        codes = net.pos_encoding
        trained = (codes.temporal_size, *codes.spatial_size)
        if codes.spatial_pos is not None and sizes != trained:
            raise ValueError(
                f"{self.name}: it has position codes for clips of 16 x 224 x 224 only, got {list(video.shape[2:])} "
                "(frames, height, width). Give such clips, or use mvit_v2_s"
            )
        x = codes(x.flatten(2).transpose(1, 2))
        for block in net.blocks:
            x, sizes = block(x, sizes)
        t, h, w = sizes
        return rearrange(net.norm(x)[:, 1:], "b (t h w) d -> b d t h w", t=t, h=h, w=w)


def _constructor(name: str) -> Callable[[], nn.Module]:
    if name not in get_args(Name):
        raise ValueError(f"Torchvision: no network {name!r} here; known are {', '.join(get_args(Name))}")
    return torchvision.models.get_model_builder(name)


def _drop_head(net: nn.Module) -> tuple[str, int]:
    """Delete the classifier of a network; return its prefix in state dicts and the number of features that it saw."""
    name = next(name for name in HEADS if hasattr(net, name))
    layers = [layer for layer in getattr(net, name).modules() if isinstance(layer, nn.Linear | nn.Conv3d)]
    delattr(net, name)
    first = layers[0]
    return f"{name}.", first.in_features if isinstance(first, nn.Linear) else first.in_channels
