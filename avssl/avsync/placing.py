"""Clips in their places, and the manifests that name them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from avssl.avsync.hffolder import link_or_copy
from avssl.avsync.splits import SPLITS
from avssl.avsync.store import Record
from avssl.catalog.manifest import Manifest


def link_all(places: dict[str, Path], out: Path, folder: str) -> None:
    """Put the clips of a folder in place, as hard links if the disk allows it, and remove others."""
    for path, place in places.items():
        target = out / path
        if target.exists() and os.path.samefile(target, place):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        link_or_copy(place, target)
    for part in sorted((out / folder).glob("*/")):
        for file in part.iterdir():
            if file.relative_to(out).as_posix() not in places:
                file.unlink()
        if not any(part.iterdir()):
            part.rmdir()


def write_manifests(rows: Sequence[tuple[str, Record]], rejected: Sequence[Record], out: Path) -> None:
    """Write ``videos.parquet`` and one manifest per split, each of which ``--data.root`` takes."""
    bad = []
    for entry in rejected:
        root, _, path = entry["source"].rpartition("/")
        reason = f"{entry['reason']}: {entry['why']}"
        bad.append({"root": root, "path": path, "status": "rejected", "reason": reason})
    Manifest.from_rows([row for _, row in rows] + bad, base=out).write(out / "videos.parquet")
    for split in SPLITS:
        Manifest.from_rows([row for own, row in rows if own == split], base=out).write(out / f"{split}.parquet")
