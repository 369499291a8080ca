"""The split of a run, kept in its folder: what it was trained on is never held out later."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from avssl.catalog.manifest import Manifest
from avssl.runtime.files import write_atomically
from avssl.runtime.seeds import key

KEPT = "split.parquet"  # in a run's folder
Changed = Literal["refuse", "extend"]
SCHEMA = pa.schema(
    {"unit": pa.large_string(), "content": pa.large_string(), "held_out": pa.bool_(), "present": pa.bool_()}
)


def draw(units: pa.Array, share: float, seed: int = 0) -> np.ndarray:
    """Draw a share of the distinct units; return ``[N]`` bool for ``[N]`` names of units."""
    encoded = units.dictionary_encode()
    names = len(encoded.dictionary)
    drawn = torch.randperm(names, generator=torch.Generator().manual_seed(key(seed)))[: round(share * names)]
    chosen = np.zeros(names, bool)
    chosen[pc.sort_indices(encoded.dictionary).to_numpy()[drawn.numpy()]] = True
    return chosen[encoded.indices.to_numpy()]


@dataclass(frozen=True)
class RunSplit:
    """Each recording of a run's collection, by its unit (what is never split) and content, and the side it is on.

    Attributes:
        fingerprint: that of the collection.
        table: columns of `SCHEMA`. The first rows are those of the collection, in order; after them come recordings
            that an earlier state of it had (not ``present``).
    """

    fingerprint: str
    table: pa.Table

    @classmethod
    def of(cls, videos: Manifest, held_out: np.ndarray) -> RunSplit:
        """Return the split of ``[N]`` videos by ``[N]`` bool."""
        columns = [
            videos.units(),
            videos.column("content"),
            held_out,
            np.ones(len(videos), bool),
        ]
        return cls(videos.fingerprint, pa.table(dict(zip(SCHEMA.names, columns, strict=True))).cast(SCHEMA))

    @classmethod
    def read(cls, folder: Path) -> RunSplit | None:
        """Read what :meth:`write` left in a run's folder; None if there is nothing."""
        if not (folder / KEPT).is_file():
            return None
        table = pq.read_table(folder / KEPT)
        return cls(table.schema.metadata[b"fingerprint"].decode(), table)

    def write(self, folder: Path) -> None:
        """Keep it in a run's folder."""
        table = self.table.replace_schema_metadata({"fingerprint": self.fingerprint})
        write_atomically(folder / KEPT, lambda file: pq.write_table(table, file, compression="zstd"))

    @property
    def held_out(self) -> np.ndarray:
        """``[N]`` bool, one for each video of the collection."""
        return self.table.filter(self.table["present"])["held_out"].to_numpy()

    def check(self, videos: Manifest, folder: Path) -> None:
        """Refuse a collection that has changed since the run in ``folder`` was begun.

        Raises:
            ValueError: saying how it differs, and the remedies.
        """
        if videos.fingerprint == self.fingerprint:
            return
        raise ValueError(
            f"{folder} holds a run on another state of this collection: {self.difference(videos)}. Drawn anew, the "
            "held-out videos would be some that it was trained on. Choose another --name, restore the collection, or "
            "continue with --data.changed=extend, which draws among the new videos only"
        )

    def difference(self, videos: Manifest) -> str:
        """Say how a collection of another fingerprint differs from this one."""
        before, now = self.table.filter(self.table["present"])["content"], videos.column("content")
        new = len(now) - (pc.sum(_is_in(now, before)).as_py() or 0)
        gone = len(before) - (pc.sum(_is_in(before, now)).as_py() or 0)
        same = "" if new or gone else ", but names, order or annotations differ"
        return f"{new} of {len(now)} videos are new, {gone} are gone{same}"

    def extended(self, videos: Manifest, share: float) -> RunSplit:
        """Return the split of a changed collection.

        A unit of which any recording was trained on, under any name, is trained on; otherwise one that was held out
        stays held out; of the others, a share is drawn.
        """
        contents, units = videos.column("content"), videos.units()
        rows = units.dictionary_encode().indices.to_numpy()  # [N] number of the unit
        known = {}
        for held_out in (True, False):
            side = self.table.filter(pc.equal(self.table["held_out"], held_out))
            found = pc.or_(_is_in(contents, side["content"]), _is_in(units, side["unit"])).to_numpy(
                zero_copy_only=False
            )
            known[held_out] = np.bincount(rows, found)[rows] > 0  # [N] any recording of the unit
        held = known[True] & ~known[False]
        new = ~known[True] & ~known[False]
        held[new] = draw(units.filter(pa.array(new)), share)
        now = RunSplit.of(videos, held)
        gone = self.table.filter(pc.invert(_is_in(self.table["content"], contents)))
        gone = gone.set_column(3, SCHEMA.field("present"), pa.array(np.zeros(len(gone), bool)))
        return RunSplit(now.fingerprint, pa.concat_tables([now.table, gone.cast(SCHEMA)]))


def _is_in(values: pa.ChunkedArray, among: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return whether each value is among others; null never is."""
    kind = pa.large_string()
    return pc.is_in(values.cast(kind), value_set=among.cast(kind).drop_null(), skip_nulls=True)
