"""Values out of range, refused by name before anything is read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any


def check_ranges(place: str, values: Mapping[str, Any] | object, **intervals: str) -> None:
    """Check that numbers lie in intervals.

    >>> check_ranges("data", {"batch_size": 0}, batch_size="[1, inf)")
    Traceback (most recent call last):
    ValueError: data.batch_size is 0: expected a number in [1, inf)

    Args:
        place: what the values belong to, in the words of a config; empty for none.
        values: a mapping, or an object with attributes. None is always right; of a tuple or list, each number is
            checked.
        intervals: for each name an interval, such as ``"[0, 1)"``, ``"(0, inf)"``.

    Raises:
        ValueError: naming the first value that is outside.
    """
    for name, interval in intervals.items():
        value = values.get(name) if isinstance(values, Mapping) else getattr(values, name)
        for number in value if isinstance(value, Iterable) else [value]:
            if number is not None and not _inside(number, interval):
                key = f"{place}.{name}".strip(".")
                raise ValueError(
                    f"{key} is {value}: expected {'numbers' if value is not number else 'a number'} in {interval}"
                )


def _inside(number: float, interval: str) -> bool:
    low, high = map(float, interval[1:-1].split(","))
    above = number >= low if interval[0] == "[" else number > low
    below = number <= high if interval[-1] == "]" else number < high
    return above and below and not math.isnan(number)
