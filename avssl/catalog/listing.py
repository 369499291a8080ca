"""What an annotation says of a recording."""

from __future__ import annotations

from typing import NamedTuple


class Asked(NamedTuple):
    """A recording, or a segment of one, as annotated; see the columns of `avssl.catalog.table`."""

    name: str | None = None
    start: float | None = None
    stop: float | None = None
    labels: tuple[str, ...] | None = None
    group: str | None = None
    view: str | None = None
