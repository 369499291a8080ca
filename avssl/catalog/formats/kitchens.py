"""Long recordings of daily life: EPIC-Kitchens-100, EPIC-Sounds and Ego4D."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from avssl.catalog.columns import mapped
from avssl.catalog.records import columns_of, records
from avssl.catalog.rows import Entry, Format, Place, Settings, at_line, clean, seconds
from avssl.catalog.texts import text_lines

CLASSES = {"verb": ("verb_class",), "noun": ("noun_class",), "action": ("verb_class", "noun_class")}


def epic_kitchens(path: Path, settings: Settings) -> Iterator[Entry]:
    """Yield EPIC-Kitchens-100 (Damen et al., IJCV 2022): a segment per narration.

    The class is the verb's (``epic_kitchens``), the noun's (``:noun``), or both (``:action``), as numbers unless the
    files ``EPIC_100_verb_classes.csv`` and ``EPIC_100_noun_classes.csv`` are given as names, the latter for ``:noun``
    and both, in this order, for ``:action``; the columns ``verb`` and ``noun`` are what was said, not classes. Times
    are the timestamps: frame numbers don't follow from the videos' rates. The test list has no classes.
    """
    columns = CLASSES[settings.option]
    if settings.names and len(settings.names) != len(columns):
        raise ValueError(f"names: epic_kitchens:{settings.option} takes {len(columns)}, got {len(settings.names)}")
    for line, row in records(path, settings):
        with at_line(path, line):
            place = Place(clean(row["video_id"]), seconds(row["start_timestamp"]), seconds(row["stop_timestamp"]))
            labels = None
            if columns[0] in row:
                names = [settings.class_name(row[column], number) for number, column in enumerate(columns)]
                labels = (" ".join(names),)
            yield Entry(line, (place,), labels, name=clean(row["narration_id"]))


def epic_sounds(path: Path, settings: Settings) -> Iterator[Entry]:
    """Yield EPIC-Sounds (Huh et al., ICASSP 2023): a segment per sound. The test list has no classes.

    Ids look like EPIC-Kitchens' (``P01_11_0``) but name other segments.
    """
    columns = {"path": "video_id", "start": "start_timestamp", "stop": "stop_timestamp", "name": "annotation_id"}
    labelled = {"label": "class"} if "class" in (columns_of(path, settings) or ()) else {}
    yield from mapped(path, settings, columns | labelled)


def ego4d(path: Path, settings: Settings) -> Iterator[Entry]:
    """Yield the moments of Ego4D (Grauman et al., CVPR 2022): a segment per label.

    Labels have two clocks: that of the clip (``start_time``), for files called ``clip_uid``, and that of the video
    (``video_start_time``), for files called ``video_uid``. Where labels say which are ``primary``, others are left out.
    Clips without annotations are rows without classes.
    """
    try:
        videos = json.loads("".join(text_lines(path, settings.encoding)))["videos"]
        clips = [(video, clip) for video in videos for clip in video["clips"]]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: not of the declared format: expected JSON with `videos` and their `clips`"
        ) from error
    passed = 0
    for number, (video, clip) in enumerate(clips, start=1):
        with at_line(path, number):
            labels = [label for each in clip.get("annotations") or () for label in each["labels"]]
            if not labels:
                start, stop = float(clip["video_start_sec"]), float(clip["video_end_sec"])
                places = (Place(clip["clip_uid"]), Place(video["video_uid"], start, stop))
                yield Entry(number, places, group=video["video_uid"], name=clip["clip_uid"])
            for label in labels:
                if label.get("primary") is False:
                    passed += 1
                    continue
                yield Entry(
                    number, _clocks(video, clip, label), (settings.class_name(label["label"]),), video["video_uid"]
                )
    if passed:
        settings.told.append(f"{path}: {passed} labels are not primary and are left out")


def _clocks(video: Mapping[str, Any], clip: Mapping[str, Any], label: Mapping[str, Any]) -> tuple[Place, Place]:
    start, stop = float(label["start_time"]), float(label["end_time"])
    begins = float(label.get("video_start_time", float(clip["video_start_sec"]) + start))
    ends = float(label.get("video_end_time", float(clip["video_start_sec"]) + stop))
    return Place(clip["clip_uid"], start, stop), Place(video["video_uid"], begins, ends)


FORMATS: Mapping[str, Any] = {
    "epic_kitchens": Format(
        epic_kitchens,
        ("verb", "noun", "action"),
        header=frozenset({"narration_id", "video_id", "start_timestamp", "stop_timestamp"}),
        num_names=2,
    ),
    "epic_sounds": Format(
        epic_sounds, header=frozenset({"annotation_id", "video_id", "start_timestamp", "stop_timestamp"})
    ),
    "ego4d": Format(ego4d),
}
