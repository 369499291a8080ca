"""Summary of a collection in a few lines of text, in memory that hardly grows with its size."""

from __future__ import annotations

import heapq
import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from avssl.catalog.compact import TOGETHER, Ints, hashes
from avssl.catalog.manifest import Manifest
from avssl.catalog.table import path_of

EXAMPLES = 3
SHOWN = 5
LASTING = re.compile(r"the recording of ([0-9.]+) s")  # in the reason of a rejected segment


def summarise(manifest: Manifest) -> str:
    """Describe hours, sizes, rates, sound, classes, rejected files by reason, and identical files, line by line."""
    rejected = manifest.table(rejected=True).slice(len(manifest.table(rejected=False)))
    lines = [f"{len(manifest)} videos can be used, {len(rejected)} can't"]
    if len(manifest):
        durations = manifest.column("duration").to_numpy()
        low, middle, high = np.quantile(durations, (0, 0.5, 1))
        lines[0] += f"; {durations.sum() / 3600:.3g} hours"
        lines.append(f"seconds: {low:.3g} to {high:.3g}, median {middle:.3g}")
        rates: Counter[str] = Counter()
        for fps, count in _counts(manifest.column("fps")):
            rates[f"{fps:.4g}"] += count
        variable = pc.sum(manifest.column("vfr")).as_py() or 0
        lines.append(f"frames per second: {_counted(rates)}; {variable} with a variable rate")
        width, height = (manifest.column(name).cast(pa.int64()) for name in ("width", "height"))
        sizes = _counts(pc.add(pc.shift_left(width, 32), height))
        lines.append(f"width x height: {_counted({f'{size >> 32}x{size & 0xFFFFFFFF}': n for size, n in sizes})}")
        lines.append(f"codecs: {_most(manifest.column('codec'))}")
        with_sound = len(manifest) - manifest.column("audio_rate").null_count
        silent = pc.sum(manifest.column("audio_silent")).as_py() or 0
        lines.append(
            f"sound: {with_sound} of {len(manifest)} ({100 * with_sound / len(manifest):.0f} %), {silent} silent; "
            f"alignment: {_most(manifest.column('sync_grade'))}"
        )
        lines += [*_segments(manifest), *_classes(manifest)]
        for name, plural in (("group", "groups"), ("view", "views")):
            column = manifest.column(name)
            if column.null_count < len(column):
                number = len(column.drop_null().unique())
                lines.append(f"{plural}: {number}, {column.null_count} videos without; {_most(column.drop_null())}")
    return "\n".join([*lines, *_rejected(rejected), *_duplicates(manifest)])


def _rejected(rejected: pa.Table) -> Iterator[str]:
    """Say how many files can't be used by reason; of segments, the ones that reach furthest out of their recording."""
    counts: Counter[str] = Counter()
    worst: dict[str, list[tuple[float, int, str]]] = defaultdict(list)
    names = ["root", "store", "path", "member", "reason", "asked"]
    for batch in rejected.select(names).to_batches(max_chunksize=TOGETHER):
        for row in batch.to_pylist():
            code, _, why = row["reason"].partition(":")
            place = (_beyond(row["reason"], row["asked"]), -counts.total(), f"{_name(row)} ({why.removeprefix(' ')})")
            counts[code] += 1
            worst[code] = heapq.nlargest(EXAMPLES, [*worst[code], place])
    for code, count in counts.most_common():
        yield f"rejected, {code}: {count}, such as {'; '.join(text for _, _, text in worst[code])}"


def _name(row: dict[str, str]) -> str:
    return path_of(row, Path(row["root"])).name


def _beyond(reason: str, asked: list[float] | None) -> float:
    """Return the seconds by which a rejected segment reaches out of its recording; 0 for what isn't one."""
    lasts = LASTING.search(reason)
    stop = None if asked is None or lasts is None else asked[1]
    return 0.0 if stop is None or lasts is None else stop - float(lasts[1])


def _segments(manifest: Manifest) -> list[str]:
    """Say how many rows are segments, and which lack more than a frame of what was asked for."""
    names = ("asked", "start", "duration", "fps")
    asked, start, duration, fps = (manifest.column(name) for name in names)
    of = np.flatnonzero(asked.is_valid())
    if not len(of):
        return []
    path, member = (manifest.column(name).filter(asked.is_valid()) for name in ("path", "member"))
    files = len(np.unique(_marks(path) ^ (_marks(member) * 3)))
    frame = 1 / fps.to_numpy()[of]
    begin = pc.fill_null(start, 0.0).to_numpy()[of]
    end = begin + duration.to_numpy()[of]
    spans = asked.drop_null()
    first, last = (pc.fill_null(pc.list_element(spans, which), np.nan).to_numpy() for which in (0, 1))
    lacking = np.fmax(0.0, np.fmax(begin - first - frame, last - end - frame))
    line = f"segments: {len(of)} of {files} files"
    if (cut := int((lacking > 0).sum())) == 0:
        return [line]
    worst = int(lacking.argmax())
    path = manifest.select([of[worst]]).paths()[0]
    by = lacking[worst] + frame[worst]
    return [f"{line}; {cut} cut where their file ends (or begins), at most by {by:.2f} s ({path.name})"]


def _classes(manifest: Manifest) -> list[str]:
    column = manifest.column("labels")
    counts = pc.fill_null(pc.list_value_length(column), 0)
    names = pc.list_flatten(column)
    if not len(names):
        return []
    several = pc.sum(pc.greater(counts, 1)).as_py()
    more = f"; {several} videos show several, {len(names) / len(column):.3g} a video on average" if several else ""
    without = pc.sum(pc.equal(counts, 0)).as_py()
    return [f"classes: {len(names.unique())}, {without} videos without; {_most(names)}{more}"]


def _counts(column: pa.ChunkedArray) -> Iterator[tuple[Any, int]]:
    """Yield the values of a column and how often each is there, in order of appearance."""
    for each in column.value_counts():
        yield each["values"].as_py(), each["counts"].as_py()


def _most(column: pa.ChunkedArray) -> str:
    counted = column.value_counts()
    counts = counted.field("counts").to_numpy()
    order = np.argsort(-counts, kind="stable")[:SHOWN].tolist()
    return _listed([(counted.field("values")[place].as_py(), int(counts[place])) for place in order], len(counts))


def _counted(counts: Mapping[str, int]) -> str:
    return _listed(Counter(counts).most_common(SHOWN), len(counts))


def _listed(most: Sequence[tuple[str, int]], number: int) -> str:
    more = f", {number - SHOWN} others" if number > SHOWN else ""
    return ", ".join(f"{value} ({count})" for value, count in most) + more


def _marks(column: pa.ChunkedArray) -> Ints:
    return np.concatenate([np.zeros(0, np.int64), *(hashes(chunk) for chunk in column.chunks)])


def _recording(content: str | None, asked: list[float] | None, start: float | None, duration: float) -> Hashable:
    """Return what is equal for identical recordings only; None if there is no proof of a row's content."""
    if content is None or ":" in content:
        return None
    return content if asked is None else (content, start or 0.0, duration)  # segments of one file differ


def _duplicates(manifest: Manifest) -> list[str]:
    names = ("content", "asked", "start", "duration")
    columns = [manifest.column(name) for name in names]
    marks = np.zeros(len(manifest), np.int64)
    for start in range(0, len(manifest), TOGETHER):
        parts = (column.slice(start, TOGETHER).to_pylist() for column in columns)
        keys = (_recording(*row) for row in zip(*parts, strict=True))
        marks[start : start + TOGETHER] = [0 if key is None else hash(key) for key in keys]
    order = np.argsort(marks, kind="stable")
    same = (np.diff(marks[order]) == 0) & (marks[order[1:]] != 0)
    positions = np.unique([order[1:][same], order[:-1][same]])
    some = manifest.select(positions)
    values = (some.column(name).to_pylist() for name in names)
    places = defaultdict(list)
    for place, row in enumerate(zip(*values, strict=True)):
        places[_recording(*row)].append(place)
    twice = [each for each in places.values() if len(each) > 1]
    if not twice:
        return []
    groups, labels = some.column("group").to_pylist(), some.column("labels").to_pylist()
    torn = sum(len({groups[p] for p in each}) > 1 or any(labels[p] != labels[each[0]] for p in each) for each in twice)
    example = ", ".join(path.name for path in some.select(twice[0]).paths())
    return [
        f"identical files: {sum(map(len, twice))} files hold {len(twice)} recordings, {torn} of these under "
        f"different groups or labels; such as {example}"
    ]
