"""Present names of classes and arguments that exports and configs of earlier versions use."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

CLASSES = {
    "avssl.methods.audiovisual.streams.TwoStream": "avssl.sync.network.TwoStream",
}
ARGUMENTS = {"frames": "num_frames"}  # of samplers, views and synchronisers


def current_class(path: str) -> str:
    """Return the present import path of a class that an export or a config names."""
    return CLASSES.get(path, path)


def current_arguments(function: Callable[..., Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments under their present names."""
    known = inspect.signature(function).parameters
    return {name if name in known else ARGUMENTS.get(name, name): value for name, value in arguments.items()}
