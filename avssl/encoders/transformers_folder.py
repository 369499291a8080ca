"""Export of an encoder as a folder that Hugging Face's transformers loads.

`ViT` is VideoMAE's network with ``positions: sequence``, and V-JEPA 2's with ``positions: rotary``. A bias of attention
keys, which VideoMAE's network lacks, is left out: it adds the same number to all scores of a query, so that their
softmax stays the same.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from avssl.encoders.base import Encoder
from avssl.encoders.huggingface import FAMILIES, HuggingFace
from avssl.encoders.huggingface_files import build_config, transformers
from avssl.encoders.shapes import Shape
from avssl.encoders.vit import ViT
from avssl.runtime.files import write_text

Weights = dict[str, Tensor]
PROCESSORS = {  # entry and class of what prepares pixels, by the kind of network
    "videomae": ("image_processor_type", "VideoMAEImageProcessor"),
    "timesformer": ("image_processor_type", "VideoMAEImageProcessor"),
    "vivit": ("image_processor_type", "VivitImageProcessor"),
    "vjepa2": ("video_processor_type", "VJEPA2VideoProcessor"),
}
NEW = ("predictor.", "pooler.")  # parts of transformers' models that an encoder has not
KINDS = {"sequence": "videomae", "rotary": "vjepa2"}  # network of transformers, by the positions of a `ViT`


def obstacle(encoder: Encoder) -> str | None:
    """Return what keeps an encoder from being a network of transformers; None if it is one."""
    if isinstance(encoder, HuggingFace):
        return None
    if not isinstance(encoder, ViT):
        return "transformers has no such network"
    config = encoder.config
    if (positions := config.get("positions", "sine")) not in KINDS:
        told = "adds the sines of a token's number (positions=sequence), V-JEPA 2 turns by its place (positions=rotary)"
        return f"its positions are {positions}, while VideoMAE {told}"
    for name in ("differences", "class_token", "causal"):
        if config.get(name, False):
            return f"{name}={config[name]}, which neither VideoMAE nor V-JEPA 2 has"
    return None


def write(encoder: Encoder, folder: Path, shape: Shape) -> list[Path]:
    """Write config.json, model.safetensors and preprocessor_config.json."""
    model, kind = model_of(encoder, shape)
    with quiet():
        model.save_pretrained(folder)
    height, width = encoder.family.size if isinstance(encoder, HuggingFace) else shape[1:]
    entry, processor = PROCESSORS[kind]
    prepared = {entry: processor, "do_rescale": True, "rescale_factor": 1 / 255, "offset": False, "do_normalize": True}
    prepared |= {"image_mean": list(encoder.card["mean"]), "image_std": list(encoder.card["std"])}
    prepared |= {"do_resize": True, "size": {"shortest_edge": min(height, width)}}
    prepared |= {"do_center_crop": True, "crop_size": {"height": height, "width": width}}
    path = folder / "preprocessor_config.json"
    write_text(path, json.dumps(prepared, indent=2) + "\n")
    return [folder / "config.json", *sorted(folder.glob("model*.safetensors*")), path]


def model_of(encoder: Encoder, shape: Shape) -> tuple[Any, str]:
    """Return transformers' model with the encoder's weights, in eval mode, and its kind.

    V-JEPA 2's model has a predictor too, and ViViT's a pooler. An encoder has neither, so theirs are new, without
    effect on the last hidden state; the predictor has no blocks if the encoder is ours.
    """
    if isinstance(encoder, HuggingFace):
        kind, weights = encoder.model_type, encoder.original_state_dict()
        config = build_config(encoder.config["config"])
    else:
        assert isinstance(encoder, ViT)
        kind = KINDS[encoder.config["positions"]]
        weights = renamed(encoder, kind)
        config = build_config({"model_type": kind, **architecture(encoder, kind, shape)})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = getattr(transformers(), FAMILIES[kind].model)(config)
    missing, unexpected = model.load_state_dict(weights, strict=False)
    wrong = [name for name in missing if not name.startswith(NEW)] + list(unexpected)
    if wrong:
        raise ValueError(f"{type(encoder).__name__}: transformers' {kind} has other weights: {', '.join(wrong)}")
    return model.eval(), kind


def architecture(encoder: ViT, kind: str, shape: Shape) -> dict[str, Any]:
    """Return transformers' configuration of a `ViT` for clips of a shape."""
    if shape.height != shape.width:
        told = f"{shape.height} x {shape.width}"
        raise ValueError(f"transformers' config has one size for both axes, but clips are {told}: give --size")
    blocks: Any = encoder.blocks
    first = blocks.layers[0]
    width, inner = encoder.num_features, first.mlp[0].out_features
    common = {"patch_size": encoder.patch, "tubelet_size": encoder.tubelet, "layer_norm_eps": blocks.norm.eps}
    common |= {"hidden_size": width, "num_hidden_layers": len(blocks.layers), "num_attention_heads": first.heads}
    if kind == "videomae":
        mine = {"image_size": shape.height, "num_frames": shape.frames, "intermediate_size": inner}
        return {**common, **mine, "use_mean_pooling": False}  # a final norm before the mean, not after it
    mine = {"crop_size": shape.height, "frames_per_clip": shape.frames, "mlp_ratio": inner / width}
    few = {"pred_hidden_size": width, "pred_num_attention_heads": first.heads, "pred_num_hidden_layers": 0}
    return {**common, **mine, **few, "drop_path_rate": encoder.config.get("drop_path", 0.0)}


def renamed(encoder: ViT, kind: str) -> Weights:
    """Return the weights of a `ViT` under transformers' names for VideoMAE or V-JEPA 2."""
    theirs = kind == "vjepa2"
    embed = encoder.embed
    sizes = {"f": encoder.tubelet, "p": encoder.patch, "q": encoder.patch}
    kernel = rearrange(embed.weight, "d (f p q c) -> d c f p q", **sizes)
    stem = "encoder.embeddings.patch_embeddings.proj" if theirs else "embeddings.patch_embeddings.projection"
    found: Weights = {f"{stem}.weight": kernel, f"{stem}.bias": embed.bias}
    blocks: Any = encoder.blocks
    for number, block in enumerate(blocks.layers):
        inside = f"encoder.layer.{number}."
        names = V_JEPA if theirs else VIDEOMAE
        for ours, name in names.items():
            found |= named(block.get_submodule(ours), inside + name)
        attention = inside + ("attention." if theirs else "attention.attention.")
        parts = zip(("query", "key", "value"), block.qkv.weight.chunk(3), biases(block), strict=True)
        for part, weight, bias in parts:
            found[f"{attention}{part}.weight"] = weight
            if theirs or part != "key":
                found[f"{attention}{part}.bias"] = bias
    found |= named(blocks.norm, "encoder.layernorm" if theirs else "layernorm")
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in found.items()}


V_JEPA = {"norm1": "norm1", "norm2": "norm2", "out": "attention.proj", "mlp.0": "mlp.fc1", "mlp.2": "mlp.fc2"}
VIDEOMAE = {
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "out": "attention.output.dense",
    "mlp.0": "intermediate.dense",
    "mlp.2": "output.dense",
}


def named(layer: nn.Module, name: str) -> Weights:
    """Return the weights of a layer under another name."""
    return {f"{name}.{part}": tensor for part, tensor in layer.state_dict().items()}


def biases(block: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return the biases of queries, keys and values of a block; a block without a bias of keys has zeros."""
    if block.qkv.bias is not None:
        query, key, value = block.qkv.bias.chunk(3)
        return query, key, value
    query, value = block.qv_bias
    return query, torch.zeros_like(query), value


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hide transformers' progress bar."""
    logging = transformers().utils.logging
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
