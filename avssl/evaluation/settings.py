"""Settings and facts as JSON values, which results and cached baselines are compared by."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

LATER: Mapping[str, bool] = {"later": True}  # metadata of a field that older results do not know


def plain(value: Any) -> Any:
    """Turn dataclasses, tuples and paths into JSON values. A path keeps its last part only, as machines differ.

    A field declared as ``field(default=..., metadata=LATER)`` is left out where it stands at its default, so that
    results from before it was there stay comparable.

    >>> from dataclasses import dataclass, field
    >>> @dataclass
    ... class Probe:
    ...     strengths: tuple[float, ...] = (0.1, 1.0)
    ...     solver: str = field(default="auto", metadata=LATER)
    >>> plain(Probe())
    {'strengths': [0.1, 1.0]}
    >>> plain(Probe(solver="device"))
    {'strengths': [0.1, 1.0], 'solver': 'device'}
    """
    if is_dataclass(value) and not isinstance(value, type):
        kept = [one for one in fields(value) if not (one.metadata.get("later") and _at_default(one, value))]
        return {one.name: plain(getattr(value, one.name)) for one in kept}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value.name if isinstance(value, Path) else value


def _at_default(one: Any, value: Any) -> bool:
    default = one.default_factory() if one.default_factory is not MISSING else one.default
    return bool(getattr(value, one.name) == default)


def digest(value: Any) -> str:
    """Return a hash of JSON values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
