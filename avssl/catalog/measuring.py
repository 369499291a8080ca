"""Measure a recording, and the segments of it that a collection names: what a manifest's rows say of them."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Literal, TypeAlias

import av

from avssl.catalog.table import row_from_info
from avssl.media import MediaError
from avssl.media.files import path_of
from avssl.media.motion import scan_frames
from avssl.media.probing import probe_frames
from avssl.media.segments import cut
from avssl.media.source import Source, SourceError
from avssl.media.tar import members
from avssl.media.window import open_range, reading
from avssl.runtime.files import CHUNK

READER = 4  # increment when measurements change
Row = dict[str, Any]
Span: TypeAlias = tuple[float | None, float | None] | None  # start and stop in seconds; None for a whole recording
Hashing = Literal["full", "quick"]


def measure(
    place: Path | Source, motion: bool, spans: Sequence[Span] = (None,), hashing: Hashing = "full"
) -> list[Row]:
    """Return the columns of each segment's row that depend on the file's content alone.

    The file is read once, however many segments it has.

    Args:
        place: the file, or where its bytes are.
        motion: decode all frames, for the motion profile and to find where decoding fails.
        spans: segments, see `avssl.media.segments.cut`.
        hashing: ``full`` for the SHA-256 of all bytes; ``quick`` for that of the size and the first and last MiB,
            marked as such, which sees most changes but is no proof that two files are the same; of an object, its
            version.

    Raises:
        SourceError: if bytes can't be had now.
    """
    try:
        check_archive(place)
        content = mark_of(place, hashing)
        info, times = probe_frames(place)
        moved = None
        if motion:
            info, times, moved = scan_frames(place, info)
    except SourceError:
        raise
    except MediaError as error:
        return [rejection(f"{error.code}: {error.why}")] * len(spans)
    except FileNotFoundError:
        return [rejection("unreadable: a broken link, or a file name that isn't UTF-8 (rename it)")] * len(spans)
    except OSError as error:
        return [rejection(f"unreadable: {error.strerror or error}")] * len(spans)
    rows = []
    for span in spans:
        try:
            part = info if span is None else cut(info, times, moved, *span)
            rows.append({**row_from_info(part), "content": content})
        except MediaError as error:
            rows.append(rejection(f"{error.code}: {error.why}"))
    return rows


def measure_file(path: str, motion: bool) -> Row:
    """Return the columns of a whole file's row that depend on its content alone, see :func:`measure`."""
    return measure(Path(path), motion)[0]


def check_archive(place: Path | Source) -> None:
    """Read through a whole tar archive that is to be measured as if it were a recording.

    Raises:
        MediaError: saying what is wrong with its layout.
        SourceError: if bytes can't be had now.
    """
    if isinstance(place, Source) and not place.member and path_of(place).suffix.lower() == ".tar":
        with closing(open_range(place)) as archive:
            for _ in members(archive, str(place)):
                pass


def mark_of(place: Path | Source, hashing: Hashing) -> str:
    """Return what identifies the bytes of a recording, see :func:`measure`."""
    if isinstance(place, Source) and place.store and hashing == "quick":
        where = f"+{place.offset}" if place.member else ""
        return f"etag:{place.store}:{place.etag}{where}"
    digest = hashlib.sha256()
    with reading(place) as file:
        if hashing == "full":
            while chunk := file.read(CHUNK):
                digest.update(chunk)
            return digest.hexdigest()
        size = file.seek(0, 2)
        digest.update(str(size).encode())
        for start in (0, max(0, size - CHUNK)):
            file.seek(start)
            digest.update(file.read(min(CHUNK, size - start)))
    return f"edge:{digest.hexdigest()}"


def rejection(reason: str) -> Row:
    """Return the columns of a recording that can't be used."""
    return {"status": "rejected", "reason": reason}


def reader_version(motion: bool) -> str:
    """Identify the code that measures files; rows with another version are outdated."""
    return f"reader {READER}, av {av.__version__}, motion {'yes' if motion else 'no'}"


def frozen(row: Row) -> Row:
    """Make a row serialisable as JSON."""
    motion = row.get("motion")
    return row if motion is None else {**row, "motion": base64.b64encode(motion).decode()}


def thawed(row: Row) -> Row:
    """Undo :func:`frozen`."""
    motion = row.get("motion")
    return row if motion is None else {**row, "motion": base64.b64decode(motion)}
