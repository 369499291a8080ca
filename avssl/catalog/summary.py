"""Summary of a collection in a few lines of text."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable

import numpy as np
import pyarrow.compute as pc

from avssl.catalog.manifest import Manifest

EXAMPLES = 3


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
        lines += _classes(manifest)
        for name, plural in (("group", "groups"), ("view", "views")):
            column = manifest.column(name)
            if column.null_count < len(column):
                lines.append(
                    f"{plural}: {len(set(column.drop_null().to_pylist()))}, {column.null_count} videos without; "
                    f"{_counted(column.drop_null().to_pylist())}"
                )
    by_reason = defaultdict(list)
    for path, reason in rejected:
        by_reason[reason.partition(":")[0]].append(f"{path.name} ({reason.partition(': ')[2]})")
    for code, files in sorted(by_reason.items(), key=lambda item: -len(item[1])):
        lines.append(f"rejected, {code}: {len(files)}, such as {'; '.join(files[:EXAMPLES])}")
    lines += _duplicates(manifest)
    return "\n".join(lines)


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
