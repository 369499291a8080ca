"""Summary of a collection in a few lines of text."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from avssl.catalog.manifest import Manifest

EXAMPLES = 3
LASTING = re.compile(r"the recording of ([0-9.]+) s")  # in the reason of a rejected segment


def summarise(manifest: Manifest) -> str:
    """Describe hours, sizes, rates, sound, classes, rejected files by reason, and identical files, line by line."""
    rejected = manifest.rejected
    lines = [f"{len(manifest)} videos can be used, {len(rejected)} can't"]
    if len(manifest):
        durations = manifest.column("duration").to_numpy()
        low, middle, high = np.quantile(durations, (0, 0.5, 1))
        lines[0] += f"; {durations.sum() / 3600:.3g} hours"
        lines.append(f"seconds: {low:.3g} to {high:.3g}, median {middle:.3g}")
        rates = (f"{fps:.4g}" for fps in manifest.column("fps").to_pylist())
        variable = sum(manifest.column("vfr").to_pylist())
        lines.append(f"frames per second: {_counted(rates)}; {variable} with a variable rate")
        sizes = zip(manifest.column("width").to_pylist(), manifest.column("height").to_pylist(), strict=True)
        lines.append(f"width x height: {_counted(f'{width}x{height}' for width, height in sizes)}")
        lines.append(f"codecs: {_counted(manifest.column('codec').to_pylist())}")
        with_sound = len(manifest) - manifest.column("audio_rate").null_count
        silent = manifest.column("audio_silent").to_pylist().count(True)
        lines.append(
            f"sound: {with_sound} of {len(manifest)} ({100 * with_sound / len(manifest):.0f} %), {silent} silent; "
            f"alignment: {_counted(manifest.column('sync_grade').to_pylist())}"
        )
        lines += [*_segments(manifest), *_classes(manifest)]
        for name, plural in (("group", "groups"), ("view", "views")):
            column = manifest.column(name)
            if column.null_count < len(column):
                lines.append(
                    f"{plural}: {len(set(column.drop_null().to_pylist()))}, {column.null_count} videos without; "
                    f"{_counted(column.drop_null().to_pylist())}"
                )
    by_reason = defaultdict(list)
    for (path, reason), beyond in zip(rejected, _beyond(manifest), strict=True):
        by_reason[reason.partition(":")[0]].append((beyond, f"{path.name} ({reason.partition(': ')[2]})"))
    for code, files in sorted(by_reason.items(), key=lambda item: -len(item[1])):
        worst = sorted(files, key=lambda file: -file[0])[:EXAMPLES]
        lines.append(f"rejected, {code}: {len(files)}, such as {'; '.join(text for _, text in worst)}")
    lines += _duplicates(manifest)
    return "\n".join(lines)


def _beyond(manifest: Manifest) -> Iterator[float]:
    """Yield the seconds by which each rejected segment reaches out of its recording; 0 for what isn't one."""
    asked = manifest.column("asked", rejected=True).slice(len(manifest)).to_pylist()
    for (_, reason), span in zip(manifest.rejected, asked, strict=True):
        lasts = LASTING.search(reason)
        stop = None if span is None or lasts is None else span[1]
        yield 0.0 if stop is None or lasts is None else stop - float(lasts[1])


def _segments(manifest: Manifest) -> list[str]:
    """Say how many rows are segments, and which lack more than a frame of what was asked for."""
    names = ("asked", "start", "duration", "fps")
    asked, start, duration, fps = (manifest.column(name) for name in names)
    of = np.flatnonzero(asked.is_valid())
    if not len(of):
        return []
    rows = pa.array(of)
    files = len(manifest.keys.take(rows).unique())
    frame = 1 / fps.to_numpy()[of]
    begin = pc.fill_null(start, 0.0).to_numpy()[of]
    end = begin + duration.to_numpy()[of]
    bounds = np.array([[np.nan if bound is None else bound for bound in span] for span in asked.take(rows).to_pylist()])
    lacking = np.fmax(0.0, np.fmax(begin - bounds[:, 0] - frame, bounds[:, 1] - end - frame))
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
    names = pc.list_flatten(column).to_pylist()
    if not names:
        return []
    several = pc.sum(pc.greater(counts, 1)).as_py()
    more = f"; {several} videos show several, {len(names) / len(column):.3g} a video on average" if several else ""
    without = pc.sum(pc.equal(counts, 0)).as_py()
    return [f"classes: {len(set(names))}, {without} videos without; {_counted(names)}{more}"]


def _counted(values: Iterable[str]) -> str:
    counts = Counter(values).most_common()
    more = f", {len(counts) - 5} others" if len(counts) > 5 else ""
    return ", ".join(f"{value} ({count})" for value, count in counts[:5]) + more


def _recording(content: str | None, asked: list[float] | None, start: float | None, duration: float) -> Hashable:
    """Return what is equal for identical recordings only; None if there is no proof of a row's content."""
    if content is None or ":" in content:
        return None
    return content if asked is None else (content, start or 0.0, duration)  # segments of one file differ


def _duplicates(manifest: Manifest) -> list[str]:
    columns = (manifest.column(name).to_pylist() for name in ("content", "asked", "start", "duration"))
    keys = [_recording(*row) for row in zip(*columns, strict=True)]
    places = defaultdict(list)
    repeated = {key for key, count in Counter(keys).items() if key is not None and count > 1}
    for position, key in enumerate(keys):
        if key in repeated:
            places[key].append(position)
    if not places:
        return []
    groups, labels = manifest.column("group").to_pylist(), manifest.column("labels").to_pylist()
    torn = sum(
        len({groups[p] for p in same}) > 1 or any(labels[p] != labels[same[0]] for p in same)
        for same in places.values()
    )
    example = ", ".join(path.name for path in manifest.select(next(iter(places.values()))).paths())
    return [
        f"identical files: {sum(map(len, places.values()))} files hold {len(places)} recordings, {torn} of these under "
        f"different groups or labels; such as {example}"
    ]
