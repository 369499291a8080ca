"""What part of the picture a collection of copies shows: of lips, say, cut from whole pictures when they were made.

It is a fixed part, or the mouth or face of a track. It is noted beside the copies, and with a run that learns from
them, which is then shown the same part of others.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from avssl.runtime.files import write_text

Region = tuple[float, float, float, float]  # left, top, right, bottom, as fractions of width and height
WHOLE: Region = (0.0, 0.0, 1.0, 1.0)
NOTE = "region.json"  # in the folder of the copies
_LEVELS = 12  # folders above a copy in which the note is looked for


class Part(NamedTuple):
    """A square around a part of a tracked face, which moves with it.

    Attributes:
        of: ``"mouth"``, ``"face"`` or ``"person"``.
        margin: added on each side, in units of the part; see `avssl.avsync.tracks.crops`.
    """

    of: str
    margin: float

    def __str__(self) -> str:
        return f"the {self.of} of a tracked face, with a margin of {self.margin:g}"


Shown = Region | Part


def shown_of(values: Sequence[Any]) -> Shown:
    """Return the part that was written down as four numbers, or as a name and a margin.

    Raises:
        ValueError: if it is neither.
    """
    if len(values) == 2:
        return Part(str(values[0]), float(values[1]))
    left, top, right, bottom = map(float, values)
    return left, top, right, bottom


def note_region(folder: Path, region: Shown) -> None:
    """Write down which part of the sources' pictures the copies in a folder show; nothing if it is all."""
    if region == WHOLE:
        (folder / NOTE).unlink(missing_ok=True)
    else:
        write_text(folder / NOTE, json.dumps({"region": list(region)}) + "\n")


def noted_region(folder: Path) -> Shown:
    """Return the part of the sources' pictures that the recordings in a folder show."""
    for place in (folder, *folder.parents)[:_LEVELS]:
        try:
            return shown_of(json.loads((place / NOTE).read_bytes())["region"])
        except OSError:
            continue
        except (ValueError, TypeError, KeyError) as error:
            expected = "expected a region of four numbers, or a part of a face and a margin"
            raise ValueError(f"{place / NOTE}: {expected} ({error}); prepare again") from error
    return WHOLE


def within(shown: Shown, region: Region) -> Shown:
    """Return what a region of a picture shows, of a picture that shows ``shown``.

    Raises:
        ValueError: if the picture shows a part of a face, and the region is not a square in its middle.
    """
    if isinstance(shown, Part):
        left, top, right, bottom = region
        if max(abs(left - top), abs(right - bottom), abs(1 - left - right)) > 1e-6:
            raise ValueError(f"{region} is not a square in the middle of pictures that show {shown}")
        return Part(shown.of, round(((1 + 2 * shown.margin) * (right - left) - 1) / 2, 6))
    width, height = shown[2] - shown[0], shown[3] - shown[1]
    left, right = (shown[0] + edge * width for edge in region[::2])
    top, bottom = (shown[1] + edge * height for edge in region[1::2])
    return left, top, right, bottom


def left_to_crop(wanted: Shown, shown: Shown) -> Region:
    """Return the part of a picture that shows a region, of a picture that shows ``shown``.

    Raises:
        ValueError: if the picture doesn't show all of the region.
    """
    if isinstance(wanted, Part) or isinstance(shown, Part):
        if not (isinstance(wanted, Part) and isinstance(shown, Part)) or wanted.of != shown.of:
            raise ValueError(f"these pictures show {_words(shown)}, and not {_words(wanted)}")
        edge = (1 - (1 + 2 * wanted.margin) / (1 + 2 * shown.margin)) / 2
        left, top, right, bottom = edge, edge, 1 - edge, 1 - edge
    else:
        width, height = shown[2] - shown[0], shown[3] - shown[1]
        left, right = ((edge - shown[0]) / width for edge in wanted[::2])
        top, bottom = ((edge - shown[1]) / height for edge in wanted[1::2])
    if min(left, top) < -1e-6 or max(right, bottom) > 1 + 1e-6:
        raise ValueError(
            f"these pictures show {_words(shown)}, of which {_words(wanted)} lies outside"
            if isinstance(shown, Part)
            else f"these pictures show the part {shown} of their sources', of which {wanted} lies outside"
        )
    return max(left, 0.0), max(top, 0.0), min(right, 1.0), min(bottom, 1.0)


def _words(shown: Shown) -> str:
    if isinstance(shown, Part):
        return str(shown)
    return "whole pictures" if shown == WHOLE else f"the part {shown} of their sources'"
