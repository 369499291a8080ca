"""Features of a collection as files for other programs: an array or a Parquet table, beside what each row is."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from avssl.catalog.index import open_manifest
from avssl.catalog.manifest import Manifest
from avssl.encoders import Encoder
from avssl.evaluation.extraction import extract_features
from avssl.evaluation.features import parts
from avssl.evaluation.protocol import Protocol
from avssl.evaluation.reading import Grid
from avssl.evaluation.run import subject
from avssl.evaluation.settings import plain
from avssl.evaluation.store import Floats, Shards
from avssl.runtime.device import Machine
from avssl.runtime.files import growing, write_atomically, write_text
from avssl.runtime.processes import joined, rank

ROWS = 256  # rows written at a time
ENDINGS = ("", ".npy", ".parquet")


def save_features(
    protocol: Protocol,
    run: str | Path,
    out: Path,
    machine: Machine = Machine(),  # noqa: B008
    encoder: Encoder | None = None,
    own_size: bool = False,
    grid: Grid | None = None,
    layers: Sequence[int] = (),
) -> list[Path]:
    """Extract the features of all videos of a protocol's collection, labelled or not, and write them to files.

    With several processes (``torchrun``), all extract and the first one writes.

    Args:
        protocol: the collection and the views; its split is not used.
        run: a run folder with an exported encoder, or an export folder.
        out: ``<name>.npy``, an array ``[V, M, N]`` float32, with ``<name>.csv`` (one row per video: file, segment,
            labels, group) and ``<name>.json`` (what the N numbers are, the views, the encoder's card) beside it; a
            folder for the same as ``features.npy``, ``features.csv`` and ``features.json``; or ``<name>.parquet``, one
            table of all of it, with a video's M * N numbers in the column ``features`` and the JSON in its metadata.
        machine: device, workers, cache and storage.
        encoder: an encoder instead of the run's, see `avssl.evaluation.run.evaluate`.
        own_size: show clips at the size on the encoder's card.
        grid: see `avssl.evaluation.reading.Reading`.
        layers: see `avssl.evaluation.reading.Reading`.

    Returns:
        The files; in processes other than the first, none.

    Raises:
        FileNotFoundError: if there is no encoder.
        MediaError: if the collection or a video can't be read.
        ValueError: if the encoder does not fit the views, or ``out`` has another ending.
    """
    if out.suffix not in ENDINGS:
        raise ValueError(f"{out}: expected a folder, or a file that ends in .npy or .parquet")
    with joined():
        network, protocol = subject(protocol, run, encoder, own_size)
        videos, views = open_manifest(protocol.data.root), protocol.views
        values = extract_features(network, videos, range(len(videos)), views, machine, grid, layers)
        if rank():
            return []
        facts = {
            "shape": list(values.shape),
            "order": "videos, views (the crops of a clip are adjacent), numbers",
            "parts": [asdict(part) for part in parts(network, views, grid, layers)],
            "order_of_a_part": "time, height, width, channel",
            "views": plain(views),
            "videos": videos.fingerprint,
            "encoder": network.card,
        }
        listed = _listed(videos)
        if out.suffix == ".parquet":
            _write_table(out, values, listed, facts)
            return [out]
        base = out / "features.npy" if not out.suffix else out
        _write_array(base, values)
        write_text(base.with_suffix(".csv"), _as_csv(listed))
        write_text(base.with_suffix(".json"), json.dumps(facts, indent=1))
        return [base, base.with_suffix(".csv"), base.with_suffix(".json")]


def _listed(videos: Manifest) -> dict[str, list[Any]]:
    """Return the columns that say what each row is; ``start`` and ``duration`` of segments only, in seconds."""
    whole = [asked is None for asked in videos.column("asked").to_pylist()]
    places = {
        name: [None if none else value for none, value in zip(whole, videos.column(name).to_pylist(), strict=True)]
        for name in ("start", "duration")
    }
    named = {name: videos.column(name).to_pylist() for name in ("labels", "group")}
    return {"path": videos.keys.to_pylist(), **places, **named}


def _as_csv(listed: dict[str, list[Any]]) -> str:
    """Return the listed columns with a number per row; several labels are separated by ``;``."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["row", *listed])
    for number, row in enumerate(zip(*listed.values(), strict=True)):
        writer.writerow([number, *(";".join(value) if isinstance(value, list) else value for value in row)])
    return text.getvalue()


def _blocks(values: Floats | Shards) -> Iterator[Floats]:
    return (values[start : start + ROWS] for start in range(0, len(values), ROWS))


def _write_array(path: Path, values: Floats | Shards) -> None:
    """Write a ``.npy`` file by blocks of rows, as `numpy.save` would the whole."""
    header = {"descr": "<f4", "fortran_order": False, "shape": values.shape}
    with growing(path) as partial, open(partial, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for block in _blocks(values):
            file.write(np.ascontiguousarray(block, dtype="<f4").tobytes())


def _write_table(path: Path, values: Floats | Shards, listed: dict[str, list[Any]], facts: dict[str, Any]) -> None:
    """Write a Parquet table with a list of M * N numbers per row."""
    width = values.shape[1] * values.shape[2]
    table = pa.table({**listed, "labels": pa.array(listed["labels"], pa.list_(pa.string()))})
    schema = table.schema.append(pa.field("features", pa.list_(pa.float32(), width)))
    schema = schema.with_metadata({"avssl": json.dumps(facts)})

    def write(file: Any) -> None:
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for number, block in enumerate(_blocks(values)):
                numbers = pa.FixedSizeListArray.from_arrays(pa.array(block.reshape(-1)), width)
                rows = table.slice(number * ROWS, len(block))
                writer.write_table(rows.append_column("features", numbers).cast(schema))

    write_atomically(path, write)
