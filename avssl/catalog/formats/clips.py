"""Clips cut from videos of the web: Kinetics, VGGSound, AudioSet, AVSpeech, HowTo100M and Panda-70M.

A row names a video and seconds of it. Collections hold the clips, whose names tell video and seconds, or the videos.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from avssl.catalog.columns import classes, mapped
from avssl.catalog.records import Rows, columns_of, records
from avssl.catalog.rows import Entry, Format, Place, Settings, at_line, clean, seconds
from avssl.catalog.texts import json_items

LONGEST_CELL = 1 << 20  # characters of a list within a field
VGGSOUND_SECONDS = 10.0
AUDIOSET = ["YTID", "start_seconds", "end_seconds", "positive_labels"]
AVSPEECH = ["id", "start", "stop", "x", "y"]


def cut_or_whole(
    video: str, start: float, stop: float, settings: Settings, clips: tuple[str, ...]
) -> tuple[Place, ...]:
    """Return the names of a clip and, last, of its video; with the option ``clips`` that too is a clip."""
    whole = Place(video) if settings.option == "clips" else Place(video, start, stop)
    return (*(Place(name) for name in clips), whole)


def kinetics(path: Path, settings: Settings) -> Iterator[Entry]:
    """Yield the rows of Kinetics' CSV (Kay et al., 2017): ``label,youtube_id,time_start,time_end,split``.

    The test list has no classes. Files are called ``ID_000010_000020``, in a folder for the class or for the split.
    """
    for line, row in records(path, settings):
        with at_line(path, line):
            video, start, stop = _field(row, "youtube_id"), seconds(row["time_start"]), seconds(row["time_end"])
            name = f"{video}_{int(start):06d}_{int(stop):06d}"
            labels = classes({"label": row.get("label")}, settings)
            side = row.get("split") or None
            hints = (*(labels or ()), *filter(None, [side]))
            places = cut_or_whole(video, start, stop, settings, (name,))
            yield Entry(line, places, labels, group=video, name=name, hints=hints, side=side)


def vggsound(path: Path, settings: Settings) -> Iterator[Entry]:
    """Yield the rows of VGGSound (Chen et al., ICASSP 2020), 10 s each, without a header.

    ``id,start,label,split``, or ``ID_000030.mp4,label`` in the test list. Several clips may be of one video: its id is
    their group.
    """
    for line, row in Rows(path, settings):
        with at_line(path, line):
            found = re.fullmatch(r"(.+)_(\d{6})(?:\.\w+)?", row[0])
            if len(row) == 2 and found:
                video, start, label, side = found[1], float(found[2]), row[1], None
            elif len(row) == 4:
                video, start, label, side = row[0], seconds(row[1]), row[2], row[3]
            else:
                raise ValueError(f"expected `id,start,label,split` or `ID_000030.mp4,label`, got {row}")
            name = f"{video}_{int(start):06d}"
            places = cut_or_whole(video, start, start + VGGSOUND_SECONDS, settings, (name,))
            yield Entry(line, places, classes({"label": label}, settings), group=video, name=name, side=side)


def audioset(path: Path, settings: Settings) -> Iterator[Entry]:
    """Yield the rows of AudioSet (Gemmeke et al., ICASSP 2017): ``YTID,start_seconds,end_seconds,positive_labels``.

    Lines with ``#`` come first, and the header may be one of them. Classes are ids (``/m/09x0r``) unless a names file
    (``class_labels_indices.csv``) is given; their names hold commas.
    """
    for line, row in Rows(path, settings):
        if row == AUDIOSET:
            continue
        with at_line(path, line):
            if len(row) != len(AUDIOSET):
                raise ValueError(f"expected {','.join(AUDIOSET)}, got {row}")
            video, start, stop = row[0], seconds(row[1]), seconds(row[2])
            labels = tuple(settings.class_name(label) for label in row[3].split(",") if clean(label))
            milliseconds = f"{video}_{round(start * 1000)}_{round(stop * 1000)}"
            padded = f"{video}_{int(start):06d}"
            decimal = f"{video}_{start:.3f}_{stop:.3f}"
            names = (f"{padded}_{int(stop):06d}", milliseconds, padded, decimal, f"{video}_{start:g}_{stop:g}")
            places = cut_or_whole(video, start, stop, settings, names)
            yield Entry(line, places, labels, group=video, name=f"{video}_{start:g}_{stop:g}")


def avspeech(path: Path, settings: Settings) -> Iterator[Entry]:
    """Yield the rows of AVSpeech (Ephrat et al., SIGGRAPH 2018): ``id,start,end,x,y``, without a header or classes."""
    for line, row in Rows(path, settings):
        with at_line(path, line):
            if len(row) != len(AVSPEECH):
                raise ValueError(f"expected {','.join(AVSPEECH)}, got {row}")
            video, start, stop = row[0], seconds(row[1]), seconds(row[2])
            name = f"{video}_{row[1]}_{row[2]}"
            names = (name, f"{video}_{start:.6f}_{stop:.6f}", f"{video}_{start:.3f}_{stop:.3f}")
            places = cut_or_whole(video, start, stop, settings, names)
            yield Entry(line, places, group=video, name=name)


def howto100m(path: Path, settings: Settings) -> Iterator[Entry]:
    """Yield the rows of HowTo100M (Miech et al., ICCV 2019) and of the lists that come with it.

    ``caption.json`` (a segment per caption), ``HowTo100M_v1.csv`` (whole videos; the class is the first category), the
    YouCook2 list (``end,start,task,text,video_id``: segments, the class is the task), and the HMDB51 list
    (``video_id,label,split1,...``, whose classes end in ``_test``).
    """
    if path.suffix.lower() == ".json":
        for number, video, captions in json_items(path, settings.encoding):
            with at_line(path, number):
                for start, stop in zip(captions["start"], captions["end"], strict=True):
                    yield Entry(number, (Place(str(video), float(start), float(stop)),), group=str(video))
        return
    there = set(columns_of(path, settings) or ())
    if {"video_id", "start", "end"} <= there:
        columns = {"path": "video_id", "start": "start", "stop": "end", "label": "task", "group": "video_id"}
    elif {"video_id", "split1"} <= there:
        columns = {"path": "video_id", "label": "label"}
    else:
        columns = {"path": "video_id", "label": "category_1", "group": "video_id"}
    for entry in mapped(path, settings, {**columns, **settings.columns}):
        if "split1" in there and entry.labels:
            entry = entry._replace(labels=tuple(label.removesuffix("_test") for label in entry.labels))
        yield entry


def panda70m(path: Path, settings: Settings) -> Iterator[Entry]:
    """Yield the segments of Panda-70M (Chen et al., CVPR 2024): a row per video, with Python lists in its fields."""
    for line, row in records(path, settings):
        with at_line(path, line):
            video, spans = _field(row, "videoID"), _literal(row["timestamp"])
            for number, span in enumerate(spans):
                if not isinstance(span, list) or len(span) != 2:
                    raise ValueError(f"timestamp: expected [[start, stop], ...], got {str(span)[:60]}")
                place = Place(video, seconds(span[0]), seconds(span[1]))
                yield Entry(line, (place,), group=video, name=f"{video}_{number:05d}")


def _literal(text: str) -> list[Any]:
    """Read a Python list of constants; nothing is run."""
    if len(text) > LONGEST_CELL:
        raise ValueError(f"a field of {len(text)} characters; at most {LONGEST_CELL} are read")
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise ValueError(f"not a list of constants: {text[:60]!r}") from error
    if not isinstance(found, list):
        raise ValueError(f"not a list: {text[:60]!r}")
    return found


def _field(row: Mapping[str, Any], name: str) -> str:
    value = clean(row[name] or "")
    if not value:
        raise ValueError(f"{name} is empty")
    return value


FORMATS = {
    "kinetics": Format(kinetics, ("", "clips"), header=frozenset({"youtube_id", "time_start", "time_end"}), once=True),
    "vggsound": Format(vggsound, ("", "clips"), once=True),
    "audioset": Format(audioset, ("", "clips"), header=frozenset(AUDIOSET)),
    "avspeech": Format(avspeech, ("", "clips")),
    "howto100m": Format(howto100m, mapped=True),
    "panda70m": Format(panda70m, header=frozenset({"videoID", "timestamp"})),
}
