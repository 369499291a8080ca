"""The table of labels, and the sheet of what to label next: the least certain videos, near duplicates marked."""

from __future__ import annotations

import csv
import heapq
import io
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from avssl.evaluation.classifier.model import VideoClassifier
from avssl.evaluation.classifier.settings import TOP
from avssl.evaluation.classifier.videos import Collection
from avssl.evaluation.pictures import doubt_picture
from avssl.media import MediaError, open_video
from avssl.runtime.files import growing
from avssl.runtime.progress import Tally

POOL = 2  # times as many clips as the sheet shows are looked at, to find different ones
PICTURE = 112  # pixels
ROWS = 10_000  # of the table written at once
Entries = Callable[[], Iterator[dict[str, Any]]]  # what the journal has of each piece, read anew at each call


class Doubtful(NamedTuple):
    """A window that may go on the sheet.

    Attributes:
        doubt: how uncertain it is.
        number: its row in the table.
        start: first second, of the video or its segment.
        stop: end.
        path: its file.
        begin: second of the file at which the video begins, 0 but for segments.
        classes: the likeliest.
        probabilities: of them.
    """

    doubt: float
    number: int
    start: float
    stop: float
    path: str
    begin: float
    classes: list[int]
    probabilities: list[float]


def write_table(
    model: VideoClassifier, collection: Collection, entries: Entries, output: Path, sheet: int
) -> dict[str, int]:
    """Write the table and the sheet from complete entries; return numbers, see `classifier_predict.predict`."""
    pool = _least_certain(entries, sheet * POOL)
    near, pictures = _look(model, collection, pool)
    marks = {number: _name(other) for number, other in near.items()}
    same = _same_content(collection)
    counts = dict.fromkeys(("videos", "rows", "unreadable", "near"), 0)
    counts["videos"] = len(collection.videos)

    def rows() -> Iterator[dict[str, Any]]:
        for number, found in enumerate(_rows(model, entries)):
            found["near"] = marks.get(number) or same.get(found["path"], "")
            counts["rows"] += 1
            counts["unreadable"] += bool(found["reason"])
            counts["near"] += bool(found["near"])
            yield found

    kept = [each for each in pool if each.number in pictures and each.number not in near][:sheet]
    if kept:
        copies = Counter(other.number for other in near.values())
        titles = [_title(model, each, copies[each.number]) for each in kept]
        doubt_picture([pictures[each.number] for each in kept], titles, output.with_suffix(".png"))
    with growing(output) as partial:
        (_write_csv if output.suffix == ".csv" else _write_parquet)(columns(model), rows(), partial)
    return counts


def columns(model: VideoClassifier) -> list[tuple[str, Any]]:
    """Return the columns of the table and their types."""
    more = [
        column
        for place in range(2, min(TOP, len(model.classes)) + 1)
        for column in ((f"class_{place}", pa.string()), (f"probability_{place}", pa.float32()))
    ]
    first = [("path", pa.string()), ("start", pa.float64()), ("stop", pa.float64())]
    return [
        *first,
        ("class", pa.string()),
        ("probability", pa.float32()),
        *more,
        ("near", pa.string()),
        ("reason", pa.string()),
    ]


def _rows(model: VideoClassifier, entries: Entries) -> Iterator[dict[str, Any]]:
    """Yield the rows of the table, without what is near to what."""
    for entry in entries():
        if "reason" in entry:
            yield {"path": entry["path"], "reason": entry["reason"]}
        for start, stop, numbers, probabilities, _ in entry.get("windows", ()):
            begin = entry["from"]
            row = {"path": entry["path"], "start": begin + start, "stop": begin + stop, "reason": ""}
            for place, (number, probability) in enumerate(zip(numbers, probabilities, strict=True), start=1):
                end = "" if place == 1 else f"_{place}"
                row |= {f"class{end}": model.classes[number], f"probability{end}": probability}
            yield row


def _least_certain(entries: Entries, count: int) -> list[Doubtful]:
    """Return the windows of which the classifier is least certain, at most one of each video, the worst first."""

    def every() -> Iterator[Doubtful]:
        number = 0
        for entry in entries():
            if "reason" in entry:
                number += 1
                continue
            of_piece = []
            for start, stop, numbers, probabilities, doubt in entry["windows"]:
                of_piece.append(
                    Doubtful(doubt, number, start, stop, entry["path"], entry["from"], numbers, probabilities)
                )
                number += 1
            yield max(of_piece, key=lambda each: (each.doubt, -each.number))

    best: dict[str, Doubtful] = {}
    for each in every():
        before = best.get(each.path)
        if before is None or each.doubt > before.doubt:
            best[each.path] = each
            if len(best) > 2 * count:
                kept = heapq.nlargest(count, best.values(), key=lambda one: (one.doubt, -one.number))
                best = {one.path: one for one in kept}
    return heapq.nlargest(count, best.values(), key=lambda one: (one.doubt, -one.number))


def _look(
    model: VideoClassifier, collection: Collection, pool: Sequence[Doubtful]
) -> tuple[dict[int, Doubtful], dict[int, Tensor]]:
    """Read the windows of a pool again.

    Returns:
        For the row of each that looks like an earlier one in the pool, the earlier one; and the middle pictures of all.
    """
    seen: list[tuple[Doubtful, Tensor, tuple[str, float]]] = []
    near: dict[int, Doubtful] = {}
    pictures = {}
    least = model.settings.alike
    known = {(video.path, video.start): video for video in collection.videos if video.row is not None}
    with Tally("sheet", len(pool)) as tally:
        for each in pool:
            tally.add("looked at")
            video = known[each.path, each.begin]
            assert video.row is not None
            info, content = collection.usable[video.row], (video.content or each.path, each.begin + each.start)
            try:
                (unit,) = model.likeness(model.read(info, [(each.start, each.stop)]))
                with open_video(info.path, info=info) as reader:
                    size = (PICTURE, max(1, round(PICTURE * info.size[1] / info.size[0])))
                    pictures[each.number] = reader.frames(torch.tensor([(each.start + each.stop) / 2]), size=size)[0]
            except MediaError:  # it could be read before: it is gone or has changed, and stays off the sheet
                continue
            alike = ((other, float(unit @ theirs) > least or content == mark) for other, theirs, mark in seen)
            twin = next((other for other, near_it in alike if near_it), None)
            if twin is None:
                seen.append((each, unit, content))
            else:
                near[each.number] = twin
    return near, pictures


def _same_content(collection: Collection) -> dict[str, str]:
    """Return, for the path of each file whose bytes an earlier one has, the earlier one's."""
    first: dict[str, str] = {}
    for video in collection.videos:
        if video.content and video.row is not None:
            first.setdefault(video.content, video.path)
    found = {video.path: first.get(video.content, video.path) for video in collection.videos}
    return {path: other for path, other in found.items() if path != other}


def _name(each: Doubtful) -> str:
    begin, end = each.begin + each.start, each.begin + each.stop
    return each.path if not begin else f"{each.path}@{begin:.6g}-{end:.6g}"


def _title(model: VideoClassifier, each: Doubtful, copies: int) -> str:
    told = [
        f"{model.classes[number]} {probability:.2f}"
        for number, probability in zip(each.classes[:2], each.probabilities[:2], strict=True)
    ]
    when = f"{Path(each.path).name}\n{each.begin + each.start:.1f} to {each.begin + each.stop:.1f} s"
    return "\n".join([when, *told, *([f"and {copies} like it"] if copies else [])])


def _write_csv(names: Sequence[tuple[str, Any]], rows: Iterator[Mapping[str, Any]], path: Path) -> None:
    heads = [name for name, _ in names]
    with open(path, "wb") as file:
        text = io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace", newline="")
        table = csv.DictWriter(text, heads, restval="", lineterminator="\n")
        table.writeheader()
        for row in rows:
            table.writerow({name: _cell(row.get(name)) for name in heads})
        text.flush()
        text.detach()


def _cell(value: Any) -> Any:
    return "" if value is None else round(value, 4) if isinstance(value, float) else value


def _write_parquet(names: Sequence[tuple[str, Any]], rows: Iterator[Mapping[str, Any]], path: Path) -> None:
    schema = pa.schema(names)
    with pq.ParquetWriter(path, schema, compression="zstd") as file:
        while part := list(islice(rows, ROWS)):
            file.write_table(pa.Table.from_pylist([dict(row) for row in part], schema=schema))
