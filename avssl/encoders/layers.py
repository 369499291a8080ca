"""Maps of a network's inner layers: the blocks of a transformer, the stages of a convolutional network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from einops import rearrange
from torch import Tensor, nn

from avssl.encoders.base import Encoder
from avssl.encoders.blocks import lists
from avssl.encoders.timm import Timm
from avssl.encoders.tokens import TokenEncoder


def layer_count(encoder: Encoder) -> int:
    """Return the number of layers of an encoder that `layer_maps` can read.

    Raises:
        ValueError: if its structure shows none.
    """
    if (stages := _stage_count(encoder)) is not None:
        return stages
    return len(_layers(encoder))


def layer_maps(encoder: Encoder, clips: Tensor, layers: Sequence[int]) -> list[Tensor]:
    """Return the maps ``[B, C, T', H', W']`` after some of an encoder's layers, by one pass of clips.

    Layers are numbered from 0, and the last one's maps are those of `Encoder.maps`. They are the blocks of a
    transformer, each read after the network's last norm and without class tokens (as DINOv2 and V-JEPA 2 read several
    of them); the four stages of a frame encoder with `FrameEncoder.stages`; and the stages (``layer1``, ...) or layers
    of other convolutional networks.

    Args:
        encoder: any encoder.
        clips: ``[B, T, 3, H, W]`` float, normalised.
        layers: their numbers.

    Raises:
        ValueError: if there is no such layer, or the network has none that give maps.
    """
    count = layer_count(encoder)
    if wrong := [layer for layer in layers if not 0 <= layer < count]:
        raise ValueError(f"layers: {type(encoder).__name__} has layers 0 to {count - 1}, not {wrong[0]}")
    if _stage_count(encoder) is not None:
        stages: list[Tensor] = encoder.stages(clips)  # type: ignore[operator]
        return [rearrange(stages[layer], "(b t) d h w -> b d t h w", b=len(clips)) for layer in layers]
    found: dict[int, list[Any]] = {layer: [] for layer in layers}
    modules = _layers(encoder)
    hooks = [
        modules[layer].register_forward_hook(lambda _, __, output, kept=found[layer]: kept.append(output))
        for layer in found
    ]
    try:
        encoder.maps(clips)
    finally:
        for hook in hooks:
            hook.remove()
    return [_as_maps(encoder, found[layer], clips) for layer in layers]


def _stage_count(encoder: Encoder) -> int | None:
    """Return the number of stages of a frame encoder; None if it has no stages."""
    try:
        return len(encoder.stage_channels)  # type: ignore[arg-type]
    except (AttributeError, ValueError):  # a transformer of timm has no maps at four resolutions
        return None


def _layers(encoder: Encoder) -> list[nn.Module]:
    found = max(lists(encoder), key=lambda members: sum(_size(member) for member in members), default=[])
    found = [member for member in found if _size(member)]
    if not found:
        raise _no_layers(encoder)
    return found


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _no_layers(encoder: Encoder) -> ValueError:
    return ValueError(f"layers: {type(encoder).__name__} has no list of layers that give maps: leave layers out")


def _as_maps(encoder: Encoder, outputs: list[Any], clips: Tensor) -> Tensor:
    """Arrange what a layer gave as ``[B, C, T', H', W']``."""
    if len(outputs) != 1:  # it is called once for every frame, as in recurrent networks
        raise _no_layers(encoder)
    output = outputs[0]
    values: Tensor = output[0] if isinstance(output, tuple) else output
    batch, name = len(clips), str(getattr(encoder, "name", ""))
    if values.ndim == 5:
        swin = name.startswith("swin")  # torchvision's have the channels last
        return _normed(encoder, values).movedim(-1, 1) if swin else values
    if values.ndim == 3:
        values = _normed(encoder, values)
    if isinstance(encoder, Timm):
        return rearrange(encoder.as_maps(values, clips), "(b t) d h w -> b d t h w", b=batch)
    if values.ndim == 4:
        return rearrange(values, "(b t) d h w -> b d t h w", b=batch)
    if values.ndim == 3 and isinstance(encoder, TokenEncoder):
        t, h, w = encoder.grid(clips)
        tokens = values[:, -(t * h * w * batch // len(values)) :].reshape(batch, t * h * w, -1)
        order = "b (h w t) d" if getattr(encoder, "model_type", "") == "timesformer" else "b (t h w) d"
        return rearrange(tokens, f"{order} -> b d t h w", t=t, h=h, w=w)
    if values.ndim == 3 and name.startswith("mvit"):
        t, h, w = output[1]
        return rearrange(values[:, 1:], "b (t h w) d -> b d t h w", t=t, h=h, w=w)
    raise _no_layers(encoder)


def _normed(encoder: Encoder, tokens: Tensor) -> Tensor:
    """Apply the norm that follows a transformer's last block, where it fits."""
    for place in ("blocks.norm", "net.layernorm", "net.norm"):
        module: Any = encoder
        for part in place.split("."):
            module = getattr(module, part, None)
        if tuple(getattr(module, "normalized_shape", ())) == tokens.shape[-1:]:
            return module(tokens)
    return tokens
