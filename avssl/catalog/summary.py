"""Summary of a collection in a few lines of text."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

import numpy as np

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
        for name, plural in (("label", "classes"), ("group", "groups"), ("view", "views")):
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


def _counted(values: Iterable[str]) -> str:
    counts = Counter(values).most_common()
    more = f", {len(counts) - 5} others" if len(counts) > 5 else ""
    return ", ".join(f"{value} ({count})" for value, count in counts[:5]) + more


def _duplicates(manifest: Manifest) -> list[str]:
    contents = manifest.column("content").to_pylist()
    places = defaultdict(list)
    repeated = {content for content, count in Counter(contents).items() if content is not None and count > 1}
    for position, content in enumerate(contents):
        if content in repeated:
            places[content].append(position)
    if not places:
        return []
    groups, labels = manifest.column("group").to_pylist(), manifest.column("label").to_pylist()
    torn = sum(len({groups[p] for p in same}) > 1 or len({labels[p] for p in same}) > 1 for same in places.values())
    example = ", ".join(manifest[position].path.name for position in next(iter(places.values())))
    return [
        f"identical files: {sum(map(len, places.values()))} files hold {len(places)} recordings, {torn} of these under "
        f"different groups or labels; such as {example}"
    ]
