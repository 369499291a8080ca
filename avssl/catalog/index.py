"""From a collection to a manifest. Each recording is measured in a process that may hang or crash."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from avssl.catalog.annotations import Lists, annotate
from avssl.catalog.asked import AskedRows
from avssl.catalog.compact import Batches
from avssl.catalog.finding import find_recordings
from avssl.catalog.found import Files
from avssl.catalog.jobs import Job, Jobs, Measure
from avssl.catalog.known import Known
from avssl.catalog.manifest import Manifest
from avssl.catalog.measuring import Hashing, Row, frozen, measure, reader_version, rejection, thawed
from avssl.catalog.rows import Asked
from avssl.catalog.streams import PLAIN, coded, spill, write_parts
from avssl.catalog.table import ROWS_TOGETHER, SCHEMA, canonical, keys_of, tables_of
from avssl.media import MediaError
from avssl.media.places import locate
from avssl.runtime.checks import check_ranges
from avssl.runtime.executors import in_share
from avssl.runtime.files import Journal, user_cache, write_atomically
from avssl.runtime.progress import Tally
from avssl.runtime.workers import Failure, run_parallel

PREPARING = "prepare.journal"  # in a folder of training-ready copies
SPILLED = 16_384  # rows of a journal in memory at a time
CHECKED = 20_000  # files of a folder's own manifest whose size is checked when it is opened


def build_index(
    root: str | Path,
    out: str | Path,
    labels: Lists = "auto",
    group: str | None = None,
    view: str | None = None,
    workers: int | None = None,
    timeout: float = 300.0,
    motion: bool = True,
    retry: bool = False,
    hashing: Hashing | None = None,
    shard: tuple[int, int] | None = None,
    executor: Executor | None = None,
    format: str | None = None,
    columns: Mapping[str, str | Sequence[str]] | None = None,
    measure: Measure = measure,
) -> Manifest:
    """Measure the videos in a folder, write their manifest and open it. Nothing is written to that folder.

    Rows of an earlier ``out`` are reused for files with the same size, modification time and reader version. New rows
    are also kept in a journal next to ``out`` until it is written, so a killed run resumes when it is run again. The
    result depends on the files alone, not on the number of workers, on shares or on interruptions.

    Args:
        root: the folder, or one in a store, see `avssl.media.places.locate`.
        out: Parquet file to write.
        labels: source of the classes, see :func:`avssl.catalog.annotations.annotate`.
        group: regular expression for the group in the relative path.
        view: regular expression for the view in the relative path.
        workers: number of processes; None for one per core.
        timeout: seconds after which a file is given up.
        motion: decode every file, for its motion profile and to find damage; otherwise only packets are read.
        retry: measure rejected files again even if they haven't changed.
        hashing: how a file's content is identified, see `avssl.catalog.measuring.measure`; by default ``full``, but
            ``quick`` in a store, where it would read every byte.
        shard: (I, N) measures only share I of N, counted from 1, and writes no manifest: the same call without it
            gathers what all shares measured. The shares may run at the same time, on machines that share a disk.
        executor: where to measure instead of in processes of this machine; it can't kill, so ``timeout`` doesn't apply.
        format: format of the lists in ``labels``, see :func:`avssl.catalog.listing.read_list`.
        columns: their columns, see there.
        measure: function that measures one file, called in another process.

    Returns:
        The manifest; with ``shard``, the rows of the share.

    Raises:
        MediaError: if there is nothing to index.
        ValueError: if annotations don't fit the files.
    """
    check_ranges("", {"workers": workers, "timeout": timeout}, workers="[1, inf)", timeout="(0, inf)")
    out, folder = Path(os.path.abspath(out)), locate(root) or Path(os.path.abspath(root))
    name = str(folder)
    hashing = hashing or ("full" if isinstance(folder, Path) else "quick")
    files, said, notes = find_recordings(folder)
    annotated = annotate(Path(name), files.keys, labels, group, view, format, columns)
    _tell([*notes, *annotated.notes], annotated.missing, out)
    asked = annotated.asked
    if labels == "auto" and not columns and said is not None:
        asked = AskedRows.of(merged(rows, own) for rows, own in zip(asked, said, strict=True))
    del annotated, said
    reader = f"{reader_version(motion)}{', quick' if hashing == 'quick' else ''}"
    inputs = _digest(name, reader, files, asked)
    suffix = ".journal" + (f".{shard[0]}of{shard[1]}" if shard else "")
    with ExitStack() as opened:
        journal = opened.enter_context(Journal(out.with_name(out.name + suffix), keep=False))
        shares = [] if shard else sorted(out.parent.glob(f"{glob.escape(out.name)}.journal.*of*"))
        parts = [journal, *(opened.enter_context(Journal(share, keep=False)) for share in shares)]
        old = Manifest.open(out) if out.exists() else None
        if old is not None and not retry and not shares and old.facts.get("inputs") == inputs:
            journal.remove()
            return old
        known = Known(files, asked, _rows(old, parts, retry), name)
        todo = np.flatnonzero(~known.current(reader))
        if known.count:
            new = (~known.seen[todo]).sum()
            counts = f"{len(files) - len(todo)} unchanged, {len(todo) - new} changed, {new} new, {known.gone} gone"
            print(f"{name}: files {counts}", file=sys.stderr)
        del known
        if shard:
            todo = todo[[in_share(files.keys[place], shard) for place in todo.tolist()]]
        jobs = Jobs(measure, folder, motion, hashing, files, asked, todo)
        limit = None if executor is not None else timeout
        with Tally(f"Indexing {Path(name).name}", len(jobs)) as tally:
            for number, result in run_parallel(_measured, jobs, workers, limit, executor):
                file, own = files[int(todo[number])], jobs.spans(number)
                if isinstance(result, Failure):
                    if result.stops is not None:
                        raise result.stops
                    result = [rejection(f"{result.code}: {result.why}")] * len(own)
                rows = [frozen({**row, "asked": span}) for row, span in zip(result, own, strict=True)]
                common = {"root": name, "reader": reader, **file._asdict()}
                journal.append(file.key, {"common": common, "rows": rows})
                tally.add("ok" if any(row["status"] == "ok" for row in rows) else "rejected")
        if shard:
            return Manifest(canonical(_share(name, _rows(None, parts, False)), out), out.parent)
        known = Known(files, asked, _rows(old, parts, retry), name)
        write_parts(out, _annotated(known, files, asked), inputs=inputs)
        for part in parts:
            part.remove()
    return Manifest.open(out)


def _tell(notes: Sequence[str], missing: Sequence[str], out: Path) -> None:
    """Print what the user should know of the lists, and write the names without a file beside the manifest."""
    for note in notes:
        print(note, file=sys.stderr)
    listing = out.with_name(out.name + ".missing.txt")
    if missing:
        write_atomically(listing, lambda file: file.writelines(f"{name}\n".encode() for name in missing))
        print(f"the names of all are in {listing}", file=sys.stderr)
    else:
        listing.unlink(missing_ok=True)


def merged(rows: list[Asked], said: Asked | None) -> list[Asked]:
    """Complete what folders say by what an archive says of its recording, which counts more."""
    if said is None:
        return rows
    return [
        row._replace(
            name=said.name,
            labels=row.labels if said.labels is None else said.labels,
            group=row.group or said.group,
        )
        for row in rows
    ]


def _measured(job: Job) -> list[Row]:
    """Measure a file. A worker imports this module before it says that it is ready, so no file's time counts that."""
    return job.measure(job.place, job.motion, job.spans, job.hashing)


def _digest(root: str, reader: str, files: Files, asked: AskedRows) -> str:
    """Hash everything that a manifest depends on."""
    digest = hashlib.sha256(json.dumps([root, reader]).encode())
    for file, every in zip(files, asked, strict=True):
        digest.update(repr((tuple(file), [tuple(own) for own in every])).encode())
    return digest.hexdigest()


def _rows(old: Manifest | None, journals: Sequence[Journal], retry: bool) -> Batches:
    """Return the rows of an earlier manifest, with ``retry`` only the usable ones, and those of journals."""
    entries = chain.from_iterable(journal.read() for journal in journals)
    rows = (thawed({**value.get("common", {}), **row}) for _, value in entries for row in value["rows"])
    measured = spill(tables_of(rows, SPILLED), journals[0].path.parent)
    if old is None:
        return measured
    before = old.table(rejected=not retry).select(SCHEMA.names).to_batches()

    def let_go() -> None:
        measured.release()
        old.release()

    return Batches([*before, *measured.batches], PLAIN, let_go)


def _share(root: str, rows: Batches) -> pa.Table:
    table = pa.Table.from_batches(rows.batches, PLAIN)
    here = pc.equal(table.column("root"), root)
    return table if pc.all(here).as_py() is not False else table.filter(here)


def _annotated(known: Known, files: Files, asked: AskedRows) -> Iterator[pa.Table]:
    """Yield the rows with their annotations, usable ones first; a segment's group is its file unless it has another."""
    ok, owner = known.usable(), asked.owner
    for wanted in (True, False):
        chosen = np.flatnonzero(ok == wanted)
        for start in range(0, len(chosen), ROWS_TOGETHER):
            places = chosen[start : start + ROWS_TOGETHER]
            part, said = known.take(places), asked.take(places)
            group = said.column("group")
            group = pc.if_else(pc.equal(group, ""), pa.scalar(None, group.type), group)
            segment = pc.or_(said.column("start").is_valid(), said.column("stop").is_valid())
            keys = pa.chunked_array([keys_of(files.rows.take(owner[places], ["path", "member"]))]).cast(group.type)
            own = pc.if_else(segment, keys, pa.scalar(None, group.type))
            values = {"labels": _sorted(said.column("labels")), "group": pc.coalesce(group, own)}
            values |= {name: said.column(name) for name in ("view", "name")}
            for name, value in values.items():
                field = SCHEMA.field(name)
                part = part.set_column(SCHEMA.names.index(name), field, value.cast(field.type))
            yield coded(part)


def _sorted(labels: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return each row's labels sorted, and once each."""
    if pc.max(pc.list_value_length(labels)).as_py() in (None, 0, 1):
        return labels
    values = [None if own is None else sorted(set(own)) for own in labels.to_pylist()]
    return pa.chunked_array([pa.array(values, labels.type)])


def open_manifest(root: str | Path | Sequence[str | Path]) -> Manifest:
    """Open the manifest of a collection.

    Args:
        root: a manifest (``.parquet`` or ``.arrow``); a folder, or one in a store (``NAME:prefix`` or its address),
            which is indexed into the user's cache on first use and checked by size and modification time or version
            later, unless it has its own ``videos.parquet`` (written by ``avssl prepare``, for example); or a list of
            these, which are joined.

    Raises:
        FileNotFoundError: if there is no such manifest.
        SourceError: ``store_unknown`` for an address that lies in no configured store.
        MediaError: if there is no such folder, no video in it, or its ``videos.parquet`` lists other files.
    """
    if not isinstance(root, str | Path):
        return Manifest.concat([open_manifest(part) for part in root])
    place = locate(root)
    if place is not None and Path(place.prefix).suffix in (".parquet", ".arrow"):
        raise MediaError(str(place), "manifest", "a manifest is read from a local file", "Copy it here")
    if place is not None:
        return build_index(str(place), _index_of(str(place)))
    root = Path(os.path.abspath(root))
    if root.suffix in (".parquet", ".arrow"):
        return Manifest.open(root)
    own = root / "videos.parquet"
    if own.is_file():
        return _checked(Manifest.open(own), own)
    if (root / PREPARING).exists():
        raise MediaError(root, "unfinished", "not all copies are made", "Run `avssl prepare` again to resume.")
    return build_index(root, _index_of(root))


def _index_of(root: str | Path) -> Path:
    return user_cache() / "index" / hashlib.sha256(os.fsencode(root)).hexdigest()[:24] / "videos.parquet"


def _checked(manifest: Manifest, own: Path) -> Manifest:
    """Raise a `MediaError` if files of a folder's own manifest, or of a large one a share of them, have changed."""
    step = max(1, len(manifest) // CHECKED)
    some = manifest if step == 1 else manifest.select(np.arange(0, len(manifest), step))
    columns = (some.column(name).to_pylist() for name in ("root", "store", "path", "size_bytes"))
    listed = {(own.parent / root / path, size) for root, store, path, size in zip(*columns, strict=True) if not store}
    stale = sorted(path for path, size in listed if not path.is_file() or path.stat().st_size != size)
    if stale:
        why = f"{len(stale)} of its {len(listed)} videos are gone or changed, such as {stale[0]}"
        remedy = "Run the command that made it again, or delete it to index the folder."
        raise MediaError(own, "stale", why, remedy)
    return manifest
