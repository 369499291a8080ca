"""Names of training-ready copies."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

from avssl.media.source import names_inside

LONGEST = 255  # bytes of a file name


def name_copies(parts: Sequence[tuple[str, str | None]]) -> list[str]:
    """Name the copies of some recordings or segments of them.

    A path's suffix becomes .mp4, or .mp4 is appended if two paths would become one; a segment's seconds come before it.

    Raises:
        ValueError: if two copies would be one file, or one would lie outside of the folder.
    """
    paths = dict.fromkeys(path for path, _ in parts)
    outside = [path for path in paths if not names_inside(path)]
    if outside:
        raise ValueError(f"a copy of {outside[0]!a} would lead out of the folder of copies: index the collection again")
    plain = {path: PurePosixPath(path).with_suffix("").as_posix() for path in paths}
    counts = Counter(name.casefold() for name in plain.values())
    targets = []
    for path, span in parts:
        stem = path if counts[plain[path].casefold()] > 1 else plain[path]
        targets.append(f"{stem}.mp4" if span is None else f"{stem}_{span}.mp4")
    same = [target for target, count in Counter(map(str.casefold, targets)).items() if count > 1]
    if same:
        why = f"{len(same)} copies would each have several sources, such as {same[0]}"
        raise ValueError(f"{why}: prepare each collection into its own folder")
    return [_fitting(target) for target in targets]


def _fitting(target: str) -> str:
    """Return a path whose last part is no longer than a file system allows; a hash keeps shortened names apart."""
    folder, slash, name = target.rpartition("/")
    if len(name.encode()) <= LONGEST:
        return target
    end = f"-{short_hash(name)}.mp4"
    return folder + slash + name.encode()[: LONGEST - len(end)].decode(errors="ignore") + end


def short_hash(name: str) -> str:
    """Return 16 characters that stand for a file name."""
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
