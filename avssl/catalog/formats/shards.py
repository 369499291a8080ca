"""Data sets that bring their own tables: Hugging Face folders, video2dataset, webdataset and LeRobot v3."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from avssl.catalog.columns import columns_of, entry
from avssl.catalog.formats.collections import lines_of
from avssl.catalog.matching import key_of
from avssl.catalog.records import Record, records
from avssl.catalog.rows import Entry, Format, Place, Settings, at_line, clean, distinct

MEDIA = frozenset({"mp4", "avi", "mkv", "webm", "mov", "mpg", "mpeg", "m4v", "ts", "flv", "wmv", "3gp", "ogv"})


def hf_videofolder(path: Path, settings: Settings) -> Iterator[Entry]:
    """Yield the rows of a Hugging Face ``VideoFolder``: ``metadata.csv``, ``.jsonl`` or ``.parquet``.

    Names (``file_name``) are relative to the folder of the table. Addresses are never fetched: they are missing files.
    """
    there = columns_of(path, settings)
    columns = {"path": "file_name", **settings.columns}
    if "label" not in columns and "labels" not in columns and (there is None or "label" in there):
        columns["label"] = "label"
    for line, row in records(path, settings, frozenset(columns.values())):
        with at_line(path, line):
            if row.get(columns["path"]) is None:
                raise ValueError(f"no {columns['path']}; it has {sorted(row)}")
            yield entry(line, row, columns, settings)


def video2dataset(path: Path, settings: Settings) -> Iterator[Entry]:
    """Yield the videos of a shard of video2dataset by its Parquet file: ``key`` and ``status``.

    Only there does it say which downloads failed. A video may have been cut into clips, ``KEY_00000``, ...: all are of
    one group. Declare a column to have classes (``--columns label=...``).
    """
    columns = {"path": "key", "group": "key", **settings.columns}
    failed: Counter[str] = Counter()
    for line, row in records(path, settings, frozenset({*columns.values(), "status"})):
        with at_line(path, line):
            status = row["status"]
            if status != "success":
                failed[str(status)] += 1
                continue
            yield entry(line, row, columns, settings)._replace(kind="clips")
    if failed:
        counts = ", ".join(f"{count} {status}" for status, count in failed.most_common())
        settings.told.append(f"{path}: {failed.total()} videos were not downloaded ({counts})")


def webdataset(path: Path, settings: Settings) -> Iterator[Entry]:
    """Yield webdataset samples from names of members or keys, one per line; sidecars of one key are one sample.

    A key ends at the first dot: ``clip.v2.mp4`` has the key ``clip``. Names that begin with ``__`` are no samples.
    """
    seen: set[str] = set()
    for line, text in lines_of(path, settings):
        key, suffix = key_of(text)
        if key.rpartition("/")[2].startswith("__") or key in seen:
            continue
        if suffix and suffix.rpartition(".")[2].lower() not in MEDIA:
            continue
        seen.add(key)
        yield Entry(line, (Place(key),), name=key, kind="key")


def lerobot_v3(path: Path, settings: Settings) -> Iterator[Entry]:
    """Yield the episodes of a LeRobot data set of version 3: a segment per episode and camera.

    The files below ``meta/episodes`` say where each episode is within ``videos/KEY/chunk-000/file-000.mp4``. Their
    times are running sums of float numbers: each is moved to the nearest frame, and the end is as many frames later as
    the episode has. Times that differ from the lengths of the episodes before are told. The view is the camera; the
    views of an episode are a group; its tasks are its classes.
    """
    there = columns_of(path, settings) or []
    wanted = frozenset(
        name for name in there if name.startswith("videos/") or name in ("episode_index", "tasks", "length")
    )
    episodes = list(records(path, settings, wanted))
    rate = _rate(path, episodes)
    ends: dict[tuple[str, int, int], tuple[int, int]] = {}  # of each file's last episode: its number and its last frame
    drifted: dict[str, float] = {}
    for line, row in episodes:
        with at_line(path, line):
            episode, length = int(row["episode_index"]), int(row["length"])
            keys = _cameras(row)
            if not keys:
                raise ValueError(f"no camera: no column videos/KEY/from_timestamp among {sorted(row)}")
            for key in keys:
                video = f"videos/{key}/"
                place = key, int(row[video + "chunk_index"]), int(row[video + "file_index"])
                first = round(row[video + "from_timestamp"] * rate)
                number, last = ends.get(place, (episode - 1, first))
                if number == episode - 1 and first != last:
                    drifted[f"episode {episode} of {key}"] = float((first - last) / rate)
                ends[place] = episode, first + length
                name = f"{video}chunk-{place[1]:03d}/file-{place[2]:03d}.mp4"
                labels = distinct(clean(task) for task in row.get("tasks") or ())
                segment = Place(name, float(first / rate), float((first + length) / rate))
                group = f"episode_{episode:06d}"
                yield Entry(line, (segment,), labels, group=group, view=key, name=f"{group}/{key}")
    if drifted:
        where, much = max(drifted.items(), key=lambda item: abs(item[1]))
        settings.told.append(
            f"{path}: {len(drifted)} episodes don't begin where the one before ends, by up to {much:+.3f} s ({where})"
        )


def _cameras(row: Record) -> list[str]:
    """Return the cameras of an episode."""
    ending = "/from_timestamp"
    names = [
        name
        for name, value in row.items()
        if name.startswith("videos/") and name.endswith(ending) and value is not None
    ]
    return [name.removeprefix("videos/").removesuffix(ending) for name in names]


def _rate(path: Path, episodes: list[tuple[int, Record]]) -> Fraction:
    """Return frames per second: from ``meta/info.json``, else from the episodes' lengths."""
    for folder in path.parents:
        info = folder / "info.json"
        if info.is_file():
            return Fraction(str(json.loads(info.read_text(encoding="utf-8"))["fps"]))
    rates = []
    for line, row in episodes:
        with at_line(path, line):
            spans = [row[f"videos/{key}/to_timestamp"] - row[f"videos/{key}/from_timestamp"] for key in _cameras(row)]
            rates += [row["length"] / span for span in spans if span > 0]
    if not rates:
        raise ValueError(f"{path}: no episode lasts, so its frame rate isn't known. Keep meta/info.json beside it")
    rate = statistics.median(rates)
    choices = [Fraction(round(rate)), Fraction(round(rate) * 1000, 1001)]
    nearest = min(choices, key=lambda choice: abs(choice - rate))
    return nearest if abs(nearest - rate) < 1e-4 * rate else Fraction(rate)


FORMATS = {
    "hf_videofolder": Format(
        hf_videofolder,
        header=frozenset({"file_name"}),
        pattern="**/metadata.*[vlt]",
        default="**/metadata.*[vlt]",
        mapped=True,
    ),
    "video2dataset": Format(
        video2dataset,
        header=frozenset({"key", "status"}),
        pattern="[0-9]*.parquet",
        default="[0-9]*.parquet",
        mapped=True,
    ),
    "webdataset": Format(webdataset),
    "lerobot_v3": Format(lerobot_v3, pattern="**/*.parquet", default="meta/episodes/**/*.parquet"),
}
