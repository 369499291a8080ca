"""Decoders and predictors of published pretraining checkpoints, to continue with them (extra ``hf``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from avssl.encoders.huggingface_files import load_pretrained, read_config
from avssl.encoders.transformer import Blocks
from avssl.encoders.weights import fit

VIDEOMAE = {  # our name of a layer within a block, and transformers'
    **{"norm1": "layernorm_before", "norm2": "layernorm_after", "out": "attention.output.dense"},
    **{"mlp.0": "intermediate.dense", "mlp.2": "output.dense"},
}
VJEPA2 = {"norm1": "norm1", "norm2": "norm2", "out": "attention.proj", "mlp.0": "mlp.fc1", "mlp.2": "mlp.fc2"}


class Parts(NamedTuple):
    """What a method puts after the encoder.

    Attributes:
        reduce: from the encoder's features to the narrower tokens.
        blank: token of a masked place, ``[hidden]``, or one for each kind of mask, ``[kinds, hidden]``.
        blocks: the narrow transformer.
        out: from its tokens to the prediction.
        trained: the number of tokens of a clip of training in time, height and width.
    """

    reduce: nn.Linear
    blank: Tensor
    blocks: Blocks
    out: nn.Linear
    trained: tuple[int, int, int]


def videomae_decoder(path: str) -> Parts:
    """Return the decoder of a VideoMAE checkpoint for pretraining in the Hugging Face format.

    Raises:
        ValueError: if the folder holds something else, or no decoder; lists what is missing.
    """
    config = _config(path, "videomae")
    state = load_pretrained(
        "VideoMAEForPreTraining", path, False, ["videomae.", "fc_norm.", "classifier."]
    ).state_dict()
    width, depth = config["decoder_hidden_size"], config["decoder_num_hidden_layers"]
    heads, mlp = config["decoder_num_attention_heads"], config["decoder_intermediate_size"]
    blocks = Blocks(width, depth, heads, mlp, key_bias=False)
    found = _blocks(state, "decoder.decoder_layers.", depth, VIDEOMAE, "attention.attention.")
    found |= _layer(state, "decoder.norm", "norm")
    fit(blocks, found, path)
    layers: Any = blocks.layers
    for block in layers:
        block.norm1.eps = block.norm2.eps = config["layer_norm_eps"]
    reduce, out = (_linear(state, name) for name in ("encoder_to_decoder", "decoder.head"))
    rows = config["image_size"] // config["patch_size"]
    return Parts(
        reduce, state["mask_token"].flatten(), blocks, out, (config["num_frames"] // config["tubelet_size"], rows, rows)
    )


def vjepa2_predictor(path: str) -> Parts:
    """Return the predictor of a V-JEPA 2 checkpoint in the Hugging Face format; it has rotary positions.

    Raises:
        ValueError: if the folder holds something else, or no predictor; lists what is missing.
    """
    config = _config(path, "vjepa2")
    state = load_pretrained("VJEPA2Model", path, False, ["encoder.", "pooler.", "classifier."]).state_dict()
    width, depth, heads = (
        config[f"pred_{name}"] for name in ("hidden_size", "num_hidden_layers", "num_attention_heads")
    )
    blocks = Blocks(width, depth, heads, int(width * config["pred_mlp_ratio"]), config["drop_path_rate"])
    found = _blocks(state, "predictor.layer.", depth, VJEPA2, "attention.")
    found |= _layer(state, "predictor.layernorm", "norm")
    fit(blocks, found, path)
    for norm in [layer for layer in blocks.modules() if isinstance(layer, nn.LayerNorm)]:
        norm.eps = config["layer_norm_eps"]
    reduce, out = (_linear(state, f"predictor.{name}") for name in ("embeddings.predictor_embeddings", "proj"))
    rows = config["crop_size"] // config["patch_size"]
    trained = (config["frames_per_clip"] // config["tubelet_size"], rows, rows)
    return Parts(reduce, state["predictor.embeddings.mask_tokens"].flatten(1), blocks, out, trained)


def _config(path: str, kind: str) -> dict[str, Any]:
    config = read_config(path, online=False)
    if config["model_type"] != kind:
        raise ValueError(f"{path}: a {config['model_type']}, and a {kind} is needed")
    return config


def _blocks(
    state: Mapping[str, Tensor], prefix: str, depth: int, names: Mapping[str, str], attention: str
) -> dict[str, Tensor]:
    """Return the weights of blocks under our names: queries, keys and values in one layer."""
    found: dict[str, Tensor] = {}
    for number in range(depth):
        theirs, ours = f"{prefix}{number}.", f"layers.{number}."
        for name, other in names.items():
            found |= _layer(state, theirs + other, ours + name)
        parts = {part: _layer(state, f"{theirs}{attention}{part}", part) for part in ("query", "key", "value")}
        found[f"{ours}qkv.weight"] = torch.cat([parts[part][f"{part}.weight"] for part in parts])
        biases = [parts[part][f"{part}.bias"] for part in parts if f"{part}.bias" in parts[part]]
        if len(biases) == 3:
            found[f"{ours}qkv.bias"] = torch.cat(biases)
        elif biases:
            found[f"{ours}qv_bias"] = torch.stack(biases)
    return found


def _layer(state: Mapping[str, Tensor], theirs: str, ours: str) -> dict[str, Tensor]:
    """Return weight and bias of a layer, as far as it has them, under another name."""
    ends = ("weight", "bias")
    return {f"{ours}.{end}": state[f"{theirs}.{end}"] for end in ends if f"{theirs}.{end}" in state}


def _linear(state: Mapping[str, Tensor], name: str) -> nn.Linear:
    found = _layer(state, name, "")
    width, given = found[".weight"].shape
    made = nn.Linear(given, width, bias=".bias" in found)
    made.load_state_dict({key.removeprefix("."): tensor for key, tensor in found.items()})
    return made
