"""The part of the picture that a collection of copies shows: of lips, say, cut from whole pictures when they were made.

It is noted beside the copies, and with a run that learns from them, which is then shown the same part of others.
"""

from __future__ import annotations

import json
from pathlib import Path

from avssl.runtime.files import write_text

Region = tuple[float, float, float, float]  # left, top, right, bottom, as fractions of width and height
WHOLE: Region = (0.0, 0.0, 1.0, 1.0)
NOTE = "region.json"  # in the folder of the copies
_LEVELS = 12  # folders above a copy in which the note is looked for


def note_region(folder: Path, region: Region) -> None:
    """Write down which part of the sources' pictures the copies in a folder show; nothing if it is all."""
    if region == WHOLE:
        (folder / NOTE).unlink(missing_ok=True)
    else:
        write_text(folder / NOTE, json.dumps({"region": list(region)}) + "\n")


def noted_region(folder: Path) -> Region:
    """Return the part of the sources' pictures that the recordings in a folder show."""
    for place in (folder, *folder.parents)[:_LEVELS]:
        try:
            left, top, right, bottom = json.loads((place / NOTE).read_bytes())["region"]
        except OSError:
            continue
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{place / NOTE}: expected a region of four numbers ({error}); prepare again") from error
        return left, top, right, bottom
    return WHOLE


def left_to_crop(wanted: Region, shown: Region) -> Region:
    """Return the part of a picture that shows a region, of a picture that shows ``shown``.

    Raises:
        ValueError: if the picture doesn't show all of the region.
    """
    width, height = shown[2] - shown[0], shown[3] - shown[1]
    left, right = ((edge - shown[0]) / width for edge in wanted[::2])
    top, bottom = ((edge - shown[1]) / height for edge in wanted[1::2])
    if min(left, top) < -1e-6 or max(right, bottom) > 1 + 1e-6:
        raise ValueError(f"these pictures show the part {shown} of their sources', of which {wanted} lies outside")
    return max(left, 0.0), max(top, 0.0), min(right, 1.0), min(bottom, 1.0)
