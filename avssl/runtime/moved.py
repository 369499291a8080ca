"""Names that have changed, so that files of earlier versions still load."""

from __future__ import annotations

import functools
import inspect
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

CLASSES = {"avssl.methods.audiovisual.streams.TwoStream": "avssl.sync.network.TwoStream"}
ARGUMENTS = {"frames": "num_frames"}  # of samplers, views and synchronisers
PLACES = ("sampler", "views")  # config keys below which ARGUMENTS holds
OPTION = re.compile(rf"(--(?:.*\.)?(?:{'|'.join(PLACES)})\.(?:init_args\.)?)({'|'.join(ARGUMENTS)})(?==|$)")


def current_class(path: str) -> str:
    """Return the present import path of a class that an export or a config names."""
    return CLASSES.get(path, path)


def current_arguments(function: Callable[..., Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments under their present names."""
    known = inspect.signature(function).parameters
    return {name if name in known else ARGUMENTS.get(name, name): value for name, value in arguments.items()}


def original_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments under their first names, for hashes that must outlive a renaming."""
    first = {new: old for old, new in ARGUMENTS.items()}
    return {first.get(name, name): value for name, value in arguments.items()}


def current_config(tree: Any, inside: bool = False) -> Any:
    """Return the content of a YAML file under today's names; each change is announced once, on standard error.

    Classes of other packages keep their arguments; ``inside`` is true within a sampler or views.
    """
    if isinstance(tree, list):
        return [current_config(item, inside) for item in tree]
    if not isinstance(tree, dict) or not str(tree.get("class_path", "avssl.")).startswith("avssl."):
        return tree
    made = {}
    for name, value in tree.items():
        if inside and name in ARGUMENTS:
            _announce(name, ARGUMENTS[name])
            name = ARGUMENTS[name]
        if name == "class_path" and value in CLASSES:
            _announce(value, CLASSES[value])
            value = CLASSES[value]
        made[name] = current_config(value, name in PLACES or (inside and name == "init_args"))
    return made


def current_options(words: Sequence[str]) -> list[str]:
    """Return ``--key.sub=value`` command-line words under today's names, announced likewise."""

    def renamed(found: re.Match[str]) -> str:
        _announce(found[2], ARGUMENTS[found[2]])
        return found[1] + ARGUMENTS[found[2]]

    return [OPTION.sub(renamed, word, count=1) for word in words]


@functools.cache
def _announce(before: str, now: str) -> None:
    print(f"note: {before!r} in this config is now called {now!r}; please rename it", file=sys.stderr)
