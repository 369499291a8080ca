"""Annotation lists in the forms that data sets publish, by name."""

from __future__ import annotations

from avssl.catalog.formats import actions, benchmarks, clips, collections, kitchens, shards
from avssl.catalog.rows import Format

FORMATS: dict[str, Format] = {
    **actions.FORMATS,
    **benchmarks.FORMATS,
    **clips.FORMATS,
    **collections.FORMATS,
    **kitchens.FORMATS,
    **shards.FORMATS,
}
"""How each format is read, by its name."""
