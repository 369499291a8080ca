"""Folders in the Hugging Face format: configuration, weights with every tensor accounted for, pixel statistics."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
PREPROCESSORS = ("preprocessor_config.json", "video_preprocessor_config.json")
NOT_ARCHITECTURE = {  # entries of a configuration that an export leaves out
    *("_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype", "id2label", "label2id"),
    *("problem_type", "finetuning_task"),
}


def transformers() -> Any:
    """Return the library.

    Raises:
        ImportError: if it isn't installed; names the extra.
    """
    try:
        import transformers
    except ImportError as error:
        raise ImportError(f"{error}. Hugging Face's networks need the extra: pip install 'avssl[hf]'") from error
    return transformers


def read_config(path: str, online: bool) -> dict[str, Any]:
    """Return the configuration of a folder (or of a name on the hub, if ``online``) as a dictionary.

    Raises:
        FileNotFoundError: if there is no such folder, and the hub may not be asked.
    """
    if not online and not (Path(path) / "config.json").is_file():
        raise FileNotFoundError(
            f"{path}: no folder with a config.json. Give a local folder in the Hugging Face format (config.json and "
            "model.safetensors); if this is a name on the hub, say online: true and it is downloaded"
        )
    return transformers().AutoConfig.from_pretrained(path, local_files_only=not online).to_dict()


def architecture(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a configuration determines the network, as JSON values."""
    return json.loads(json.dumps({name: value for name, value in config.items() if name not in NOT_ARCHITECTURE}))


def build_config(config: Mapping[str, Any]) -> Any:
    """Return transformers' configuration object of a dictionary; what it doesn't say is that library's default.

    Raises:
        ValueError: if it has no ``model_type``, or one that the library doesn't know, or a value of the wrong kind.
    """
    if "model_type" not in config:
        got = ", ".join(config) or "nothing"
        raise ValueError(f"config: no model_type (videomae, vjepa2, wav2vec2, ...), only {got}: add it")
    from huggingface_hub.errors import StrictDataclassError

    try:
        return transformers().AutoConfig.for_model(**config)
    except StrictDataclassError as error:
        raise ValueError(f"config of {config['model_type']}: {error}") from error


def load_pretrained(model: str, path: str, online: bool, dropped: Sequence[str], **options: Any) -> nn.Module:
    """Load a model by transformers' own loader, in float32; nothing may be missing or left over.

    Args:
        model: name of transformers' class.
        path: folder, or a name on the hub if ``online``.
        online: whether the hub may be asked.
        dropped: prefixes of names that do not matter, heads and decoders: the file may have them or not.
        options: arguments of the class.

    Raises:
        ValueError: lists the missing, unexpected and misshapen tensors.
    """
    with _quiet():
        network, told = getattr(transformers(), model).from_pretrained(
            path,
            local_files_only=not online,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are listed with the others below
            dtype=torch.float32,
            **options,
        )
    inner = f"{network.base_model_prefix}."  # before the encoder's names in checkpoints with a head
    left = [name for name in sorted(told["unexpected_keys"]) if not name.removeprefix(inner).startswith(tuple(dropped))]
    needed = [name for name in sorted(told["missing_keys"]) if not name.startswith(tuple(dropped))]
    lines = [f"  missing     {name}" for name in needed]
    lines += [f"  unexpected  {name}" for name in left]
    lines += [
        f"  shape       {name}: the class has {list(expected)}, the file {list(got)}"
        for name, got, expected in sorted(told["mismatched_keys"])
    ]
    if lines or told["error_msgs"]:
        raise ValueError(f"{path}: its weights do not fit {model}:\n" + "\n".join([*lines, *told["error_msgs"]]))
    return network.train()


def read_preprocessor(path: str, online: bool) -> dict[str, Any]:
    """Return a folder's preprocessor settings; empty if it has none."""
    for name in PREPROCESSORS:
        found = transformers().utils.cached_file(
            path, name, local_files_only=not online, _raise_exceptions_for_missing_entries=False
        )
        if found is not None:
            return json.loads(Path(found).read_text(encoding="utf-8"))
    return {}


def pixel_statistics(path: str, online: bool, offset: bool = False) -> dict[str, list[float]]:
    """Return mean and standard deviation of pixels in [0, 1] that amount to a folder's preprocessor settings.

    The settings scale pixels from 0 to 255, may subtract 1, and normalise; all of that is one mean and one standard
    deviation per channel. If there are none, they are ImageNet's, and a line on standard error says so.

    Args:
        path: folder, or a name on the hub if ``online``.
        online: whether the hub may be asked.
        offset: whether 1 is subtracted (ViViT) if the settings don't say.
    """
    settings = read_preprocessor(path, online)
    if not settings:
        print(f"note: {path} has no {PREPROCESSORS[0]}: ImageNet's statistics normalise its pixels", file=sys.stderr)
        return dict(IMAGENET)
    scale = 255 * settings.get("rescale_factor", 1 / 255) if settings.get("do_rescale", True) else 255.0
    shift = float(settings.get("offset", offset) and settings.get("do_rescale", True))
    normalised = settings.get("do_normalize", True)
    mean = settings.get("image_mean", IMAGENET["mean"]) if normalised else [0.0] * 3
    std = settings.get("image_std", IMAGENET["std"]) if normalised else [1.0] * 3
    return {"mean": [(value + shift) / scale for value in mean], "std": [value / scale for value in std]}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence transformers' report and progress bar, whose content an error lists."""
    logging = transformers().utils.logging
    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
