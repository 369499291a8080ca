"""Export an encoder as ``encoder.safetensors`` with a card that describes it. Nothing is ever unpickled."""

from __future__ import annotations

import hashlib
import importlib
import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

import avssl
from avssl.encoders.base import AudioEncoder, Encoder, Exportable
from avssl.encoders.weights import misfits
from avssl.runtime.files import write_atomically, write_text
from avssl.runtime.moved import current_arguments, current_class, original_arguments

WEIGHTS = "encoder.safetensors"
CARD = "encoder.json"
Kind = TypeVar("Kind", bound=Exportable)


def save_encoder(encoder: Exportable, folder: str | Path, card: Mapping[str, Any]) -> Path:
    """Write ``encoder.safetensors``, whose path is returned, and ``encoder.json``, replacing an earlier export.

    The weights file contains the card and is replaced atomically, so an interrupted export leaves the old encoder or
    the new one; ``encoder.json`` is a copy of the card for people and other programs.

    Args:
        encoder: any encoder of video, sound or both; parameters keep their type.
        folder: created if it does not exist.
        card: JSON values. Must have ``mean`` and ``std`` (three channel values for pixels in [0, 1]) and ``size``
            ((height, width) of the training frames); anything else worth knowing (method, config, ...) is kept. Class,
            constructor arguments, num_features, versions and commit are added.

    Raises:
        ValueError: if the card lacks an entry or has a value that JSON can't express.
    """
    missing = [key for key in ("mean", "std", "size") if key not in card]
    if missing:
        raise ValueError(f"save_encoder: the card needs mean, std and size; {missing} missing, got {sorted(card)}")
    full = {
        **card,
        **plan(encoder),
        "num_features": encoder.num_features,
        "weights_hash": weights_hash(encoder),
        "versions": {"avssl": avssl.__version__, "torch": torch.__version__, "commit": source_commit()},
    }
    try:
        text = json.dumps(full, indent=2, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"save_encoder: the card must hold plain JSON values: {error}") from error
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in encoder.state_dict().items()}
    folder = Path(folder)
    content = save(tensors, metadata={"card": text})
    write_atomically(folder / WEIGHTS, lambda file: file.write(content))
    write_text(folder / CARD, text + "\n")
    return folder / WEIGHTS


def load_encoder(path: str | Path) -> Encoder:
    """Load an exported encoder, in eval mode, on the CPU; its card is in ``encoder.card``.

    Args:
        path: a run folder (``<run>/encoder/`` is read), an export folder, or the weights file itself.

    Raises:
        FileNotFoundError: if there is no export; says where it looked.
        ValueError: if the file is damaged, its class is not an `Encoder`, or its tensors do not fit the class; lists
            the missing, unexpected and misshapen ones.
    """
    return load(path, Encoder, "encoder")


def load_audio_encoder(path: str | Path) -> AudioEncoder:
    """Load an audio encoder; like `load_encoder`, but of a run folder ``<run>/audio_encoder/`` is read."""
    return load(path, AudioEncoder, "audio_encoder")


def load(path: str | Path, kind: type[Kind], name: str) -> Kind:
    """Load an exported network of class ``kind``, which is in the folder ``name`` of a run; see `load_encoder`."""
    weights = _find(path, name)
    file = _open(weights)
    card, tensors = _card_of(file, weights), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    encoder = build(card, kind, weights)
    _check_tensors(encoder.state_dict(), tensors, weights)
    encoder.load_state_dict(tensors)
    encoder.card = card
    return encoder.eval()


def plan(network: Exportable) -> dict[str, Any]:
    """Return a network's class and constructor arguments as plain values, for `build`."""
    return {"class": f"{type(network).__module__}.{type(network).__qualname__}", "config": network.config}


def build(plan: Mapping[str, Any], kind: type[Kind], where: str | Path = "a plan") -> Kind:
    """Build a network with newly initialised weights from its `plan`; ``where`` names the plan in error messages.

    Raises:
        ValueError: if the class can't be imported or is not of this kind.
    """
    module, _, name = current_class(plan["class"]).rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{where}: its class {plan['class']} can't be imported: {error}") from error
    if not (isinstance(found, type) and issubclass(found, kind)):
        raise ValueError(f"{where}: its class {plan['class']} is not an avssl.encoders.{kind.__name__}")
    return found(**current_arguments(found, plan["config"]))


def read_card(path: str | Path, name: str = "encoder") -> dict[str, Any]:
    """Read the card of an export without building the encoder; path and errors as in `load_encoder`.

    ``name`` is the folder of the network in a run's: ``encoder`` or ``audio_encoder``.
    """
    weights = _find(path, name)
    return _card_of(_open(weights), weights)


def weights_hash(encoder: Exportable) -> str:
    """Return the SHA-256 over class, constructor arguments and every tensor: equal if two encoders compute the same."""
    arguments = sorted(original_arguments(encoder.config).items())
    digest = hashlib.sha256(f"{type(encoder).__qualname__} {arguments}".encode())
    for name, tensor in sorted(encoder.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def source_commit() -> str | None:
    """Return the commit of avssl's source tree (``-dirty`` if files differ); None outside git."""
    git = shutil.which("git")
    root = Path(avssl.__file__).parents[1]
    if git is None or not (root / ".git").exists():
        return None
    command = [git, "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip() or None


def _find(path: str | Path, name: str = "encoder") -> Path:
    path = Path(path)
    if path.is_file():
        return path
    places = [path / WEIGHTS, path / name / WEIGHTS]
    for place in places:
        if place.is_file():
            return place
    raise FileNotFoundError(
        f"{path}: no exported encoder: looked for {places[0]} and {places[1]}. "
        "Give a run folder whose training has written one, or the output of tools/export.py"
    )


def _open(weights: Path) -> Any:
    try:
        return safe_open(weights, framework="pt")
    except SafetensorError as error:
        raise ValueError(f"{weights}: not a readable safetensors file ({error}). Export the encoder again") from error


def _card_of(file: Any, weights: Path) -> dict[str, Any]:
    metadata = file.metadata() or {}
    if "card" not in metadata:
        raise ValueError(f"{weights}: no card in the file: avssl didn't write it. Export with tools/export.py")
    return json.loads(metadata["card"])


def _check_tensors(expected: Mapping[str, Tensor], got: Mapping[str, Tensor], weights: Path) -> None:
    lines = misfits(expected, got)
    if lines:
        raise ValueError(f"{weights}: the tensors do not fit the class in its card:\n" + "\n".join(lines))
