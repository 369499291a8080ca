"""Few-shot splits: classes that are tested in episodes, and others that are not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from avssl.catalog.manifest import Manifest
from avssl.evaluation.listed import Rows, entries_of, positions
from avssl.evaluation.splits import Fold, Folds, groups_of


@dataclass(frozen=True)
class NovelClasses:
    """Classes to test in few-shot episodes, which no training video shows (Zhu & Yang, ECCV 2018, section 4.1).

    The features of the base classes' videos standardise those of the others; nothing learns from their labels.

    Args:
        novel: list of the videos of the novel classes, ``test.list``.
        base: list of the videos of the base classes, ``train.list``.
        allow_missing: share of the listed videos of each side that may be missing.
        format: format of the lists, see :func:`avssl.catalog.listing.read_list`.
    """

    novel: Path
    base: Path
    allow_missing: float = 0.0
    format: str = "cmn"

    def __call__(self, videos: Manifest) -> Folds:  # noqa: D102
        rows, sides, missing = Rows(videos), [], 0
        for file in (self.base, self.novel):
            entries = entries_of(file, self.format)
            found = tuple(dict.fromkeys(positions(file, entries, rows, self.allow_missing)))
            missing += len({entry.places[0].name for entry in entries}) - len(found)
            sides.append(found)
        fold = Fold("novel", sides[0], sides[1], missing=max(missing, 0))
        return Folds((fold,), groups_of(videos, None), official=True, novel=True)
