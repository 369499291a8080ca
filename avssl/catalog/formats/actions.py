"""Actions within longer videos: Charades, MultiTHUMOS, ActivityNet and AVA."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from avssl.catalog.records import Rows, records
from avssl.catalog.rows import Entry, Format, Place, Settings, at_line, clean, distinct, seconds
from avssl.catalog.texts import json_items, text_lines

MOMENTS = 25  # of a video of Charades at which localisation is measured
Action = tuple[str, float, float]  # class, start and stop in seconds


def charades(path: Path, settings: Settings) -> Iterator[Entry]:
    """Yield Charades (Sigurdsson et al., ECCV 2016): a segment per action, or with ``:videos`` a row per video.

    With ``:frames`` it is 25 per video, three seconds around the moments ``k / 25`` of its length, with the actions
    that are shown then (``start <= moment <= stop``): what its localisation is measured on (``Charades_v1_localize``).

    Takes the official CSV (``actions`` is ``c092 11.90 21.20;...``), or JSON of ``subset, duration, actions`` by video
    with class numbers. Videos without an action ask for no segment. Actions may end past the video.
    """
    if path.suffix.lower() == ".json":
        if settings.option == "frames":
            raise ValueError(f"{path}: format charades:frames takes the official CSV, which has the videos' lengths")
        yield from _by_video(path, settings, "c{:03d}")
        return
    for line, row in records(path, settings):
        with at_line(path, line):
            actions: list[Action] = []
            for text in filter(str.strip, (row["actions"] or "").split(";")):
                parts = text.split()
                if len(parts) != 3:
                    raise ValueError(f"expected `class start stop`, got {text!r}")
                actions.append((settings.class_name(parts[0]), seconds(parts[1]), seconds(parts[2])))
            if settings.option == "frames":
                yield from _moments(line, clean(row["id"]), actions, seconds(row["length"]))
            else:
                yield from _asked(line, clean(row["id"]), actions, settings)


def _moments(number: int, video: str, actions: list[Action], length: float) -> Iterator[Entry]:
    """Yield 25 moments of a video, cut to it."""
    for index in range(MOMENTS):
        moment = index / MOMENTS * length
        shown = distinct(label for label, start, stop in actions if start <= moment <= stop)
        place = Place(video, max(0.0, moment - 1.5), min(length, moment + 1.5))
        yield Entry(number, (place,), shown, group=video, name=f"{video}_{index:02d}", joined=True)


def multithumos(path: Path, settings: Settings) -> Iterator[Entry]:
    """Yield MultiTHUMOS (Yeung et al., IJCV 2018) from JSON of ``subset, duration, actions`` by video.

    The official annotations, a text file per class (``CLASS.txt``: ``video start stop``), are taken too.
    """
    if path.suffix.lower() == ".json":
        yield from _by_video(path, settings, "{}")
        return
    for line, text in enumerate(text_lines(path, settings.encoding), start=1):
        if text.strip():
            with at_line(path, line):
                parts = text.split()
                if len(parts) != 3:
                    raise ValueError(f"expected `video start stop`, got {text.strip()!r}")
                action = (path.stem, seconds(parts[1]), seconds(parts[2]))
                yield from _asked(line, parts[0], [action], settings)


def _by_video(path: Path, settings: Settings, class_id: str) -> Iterator[Entry]:
    for number, video, facts in json_items(path, settings.encoding):
        with at_line(path, number):
            actions = [
                (
                    settings.class_name(str(label)) if settings.names else class_id.format(label),
                    float(start),
                    float(stop),
                )
                for label, start, stop in facts["actions"]
            ]
            yield from _asked(number, str(video), actions, settings)


def activitynet(path: Path, settings: Settings) -> Iterator[Entry]:
    """Yield ActivityNet (Caba Heilbron et al., CVPR 2015): a segment per action, or with ``:videos`` a row per video.

    Files are called ``v_ID`` or ``ID``. Videos of the subset ``testing`` have no classes: they are rows of their own.
    """
    try:
        database = json.loads("".join(text_lines(path, settings.encoding)))["database"]
        videos = list(database.items())
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not of the declared format: expected JSON with `database` by video") from error
    for number, (video, facts) in enumerate(videos, start=1):
        with at_line(path, number):
            found = [(settings.class_name(each["label"]), *_span(each["segment"])) for each in facts["annotations"]]
            if not found and facts.get("subset") == "testing":
                yield Entry(number, (Place(f"v_{video}"), Place(video)))
            for entry in _asked(number, f"v_{video}", found, settings):
                (place,) = entry.places
                yield entry._replace(places=(place, place._replace(name=video)))


def _span(segment: list[float]) -> tuple[float, float]:
    start, stop = segment
    return float(start), float(stop)


def _asked(number: int, video: str, actions: list[Action], settings: Settings) -> Iterator[Entry]:
    """Yield a row per action, or one with the classes of all."""
    if settings.option == "videos":
        yield Entry(number, (Place(video),), distinct(label for label, _, _ in actions), joined=True)
    else:
        for label, start, stop in actions:
            yield Entry(number, (Place(video, start, stop),), (label,))


def ava(path: Path, settings: Settings) -> Iterator[Entry]:
    """Yield AVA (Gu et al., CVPR 2018) as clips: the seconds around each key frame, with the actions of all persons.

    A row of the list is a person's action: ``video,second,x1,y1,x2,y2,action,person``. The clip is three seconds around
    ``second``, as its annotators saw it, unless the format says how many (``ava:1``). A list of ``video,second`` alone
    names seconds to leave out: give it beside the other, called ``*excluded*``.
    """
    if "excluded" in path.name:
        return
    around = float(settings.option or 3) / 2
    left_out = _excluded(path, settings)
    passed = 0
    shown: dict[tuple[str, float], list[str]] = defaultdict(list)
    lines: dict[tuple[str, float], int] = {}
    for line, row in Rows(path, settings):
        with at_line(path, line):
            if len(row) not in (7, 8):
                raise ValueError(f"expected `video,second,x1,y1,x2,y2,action,person`, got {row}")
            key = row[0], seconds(row[1])
            if key in left_out:
                passed += 1
                continue
            shown[key] += [settings.class_name(row[6])] if row[6] else []
            lines.setdefault(key, line)
    for (video, second), labels in shown.items():
        name = f"{video}_{second:04g}"
        place = Place(video, second - around, second + around)
        yield Entry(lines[video, second], (place,), distinct(labels), group=video, name=name, joined=True)
    if passed:
        settings.told.append(f"{path}: {passed} rows are of seconds that the list of excluded ones names")


def _excluded(path: Path, settings: Settings) -> set[tuple[str, float]]:
    """Read the lists of excluded seconds beside a list, given with it or not."""
    found = set()
    side = re.split(r"_v\d", path.stem)[0]
    for file in sorted(path.parent.glob(f"{side}_excluded_timestamps*.csv")):
        for line, row in Rows(file, settings):
            with at_line(file, line):
                found.add((row[0], seconds(row[1])))
    return found


FORMATS: Mapping[str, Any] = {
    "charades": Format(charades, ("", "videos", "frames"), header=frozenset({"id", "actions", "length"})),
    "multithumos": Format(multithumos, ("", "videos"), pattern="*.txt"),
    "activitynet": Format(activitynet, ("", "videos")),
    "ava": Format(ava, ("3", "#")),
}
