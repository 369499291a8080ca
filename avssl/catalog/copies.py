"""Training-ready copies of a collection, made in parallel, and their manifest."""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import av

import avssl
from avssl.catalog.encode import VERSION, CopyOptions, write_copy
from avssl.catalog.index import PREPARING
from avssl.catalog.manifest import Manifest
from avssl.catalog.measuring import Row, frozen, measure_file, reader_version, rejection, thawed
from avssl.catalog.naming import name_copies, short_hash
from avssl.catalog.packing import UNPACKED, Held, Shards, packed
from avssl.media import MediaError, VideoInfo
from avssl.media.regions import note_region
from avssl.media.source import SourceError
from avssl.runtime.checks import check_ranges
from avssl.runtime.files import FULL, Journal, disk_full, settle
from avssl.runtime.progress import Tally
from avssl.runtime.workers import Failure, run_parallel


class Job(NamedTuple):
    """One copy to make: its source as in the manifest, the source's size and modification time, and the target."""

    info: VideoInfo
    size_bytes: int
    mtime_ns: int | None
    target: Path
    options: CopyOptions
    span: str | None = None  # seconds of a segment

    @property
    def num_bytes(self) -> int:
        """Length of the source: of the member, if it is one."""
        return self.info.source.num_bytes if self.info.source else self.size_bytes

    @property
    def key(self) -> str:
        """Hash of everything that the copy depends on."""
        facts = [os.fspath(self.info.path), self.size_bytes, self.mtime_ns]
        if self.span is not None:
            facts += [self.info.start, self.info.duration]
        if self.info.source is not None:
            facts += [str(self.info.source), self.info.source.offset, self.info.source.etag]
        facts += [asdict(self.options), VERSION, avssl.__version__, av.__version__]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    @property
    def partial(self) -> Path:
        """Temporary file until the copy is complete; its name is short, however long the copy's is."""
        return self.target.with_name(f".{short_hash(self.target.name)}.partial")


@dataclass(frozen=True)
class Prepared:
    """Outcome of :func:`prepare`.

    Attributes:
        manifest: the copies; sources without one are among its rejected files.
        made: number of copies made now, with a total duration of ``media_seconds``.
        kept: number of copies that existed already.
        failed: number of sources that could not be copied now.
        seconds: time taken.
        bytes_before: total size of the sources of all copies.
        bytes_after: total size of all copies.
    """

    manifest: Manifest
    made: int
    kept: int
    failed: int
    seconds: float
    media_seconds: float
    bytes_before: int
    bytes_after: int

    def __str__(self) -> str:
        rate = ""
        if self.made:
            speed, realtime = self.made / self.seconds, self.media_seconds / self.seconds
            rate = f" in {self.seconds:.1f} s ({speed:.3g} files/s, {realtime:.3g} x real time)"
        ratio = f"; {self.bytes_after / self.bytes_before:.2f} of the size" if self.bytes_before else ""
        return f"{self.made} copies made{rate}, {self.kept} existed already, {self.failed} failed{ratio}"


def prepare(
    source: Manifest,
    out: str | Path,
    options: CopyOptions | None = None,
    workers: int | None = None,
    timeout: float = 1800.0,
    shard_size: int | None = None,
) -> Prepared:
    """Make a training-ready copy of every usable video, see :func:`avssl.catalog.encode.write_copy`.

    Copies have the same relative paths in ``out`` as their sources have in their root; to those of segments their
    seconds are added, and segments that are the same share one. ``out/videos.parquet`` is their manifest, with the
    names, labels, groups, views and ``sync_grade`` of the sources. A copy is complete or absent. One made
    from the same source with the same options is kept, so a killed run resumes when it is run again. Sources are never
    changed.

    With ``shard_size``, the copies lie in ``out/shards/NNNNN.tar``, as webdataset has them: ``KEY.mp4``, and
    ``KEY.json`` with its label, labels, group, view and name. The manifest's rows are their members.

    Args:
        source: the videos.
        out: folder for the copies; created if needed.
        options: format of the copies.
        workers: number of processes; None for one per core.
        timeout: seconds after which a video is given up.
        shard_size: most bytes of an archive, see `avssl.catalog.packing.Shards`; None for one file per copy.

    Raises:
        SourceError: if bytes in a store or an archive can't be had now; run it again to go on from there.
        ValueError: if ``out`` is inside the sources' folder, two sources would become one file, or one is an image.
        DiskFull: if nothing more can be written.
    """
    given = {"workers": workers, "timeout": timeout, "shard_size": shard_size}
    check_ranges("", given, workers="[1, inf)", timeout="(0, inf)", shard_size="[1, inf)")
    out = Path(os.path.abspath(out))
    for root in source.roots:
        if out.resolve().is_relative_to(root.resolve()):
            raise ValueError(f"{out} is inside {root}, which has the originals: choose a folder elsewhere")
    if "image" in source.column("container").to_pylist():
        raise ValueError("some sources are images, which are read as they are: prepare only videos")
    started = time.monotonic()
    folder = out / UNPACKED if shard_size else out
    jobs, notes = _jobs(source, folder, options or CopyOptions())
    with Journal(out / PREPARING) as journal:
        shards = Shards(out, shard_size, journal) if shard_size else None
        held = shards.held() if shards else {}
        todo = [
            job
            for job in jobs
            if not _is_current(job, journal.entries.get(os.fspath(job.target)), held.get(_path(job, folder)))
        ]
        failures: dict[Path, str] = {}  # by target
        with Tally(f"Preparing {out.name}", len(todo)) as tally:
            for position, result in run_parallel(_copy, todo, workers, timeout):
                job = todo[position]
                if isinstance(result, Failure):
                    job.partial.unlink(missing_ok=True)
                    if result.stops is not None:
                        raise result.stops
                    if result.errno in FULL:
                        raise disk_full(result.errno, job.target.parent)
                    result = rejection(f"{result.code}: {result.why}")
                if result["status"] == "ok":
                    journal.append(os.fspath(job.target), {"key": job.key, "row": frozen(result)})
                else:
                    failures[job.target] = result["reason"]
                tally.add("made" if result["status"] == "ok" else "failed")
        made_of = {
            note["path"]: journal.entries[os.fspath(folder / note["path"])]["row"]
            for note in notes
            if folder / note["path"] not in failures
        }
        rows = [{**thawed(made_of[note["path"]]), **note} for note in notes if note["path"] in made_of]
        bytes_after = sum(row["size_bytes"] for row in made_of.values())
        if shards:
            rows = packed(rows, shards)
        lost = [*source.rejected, *((job.info.path, failures[job.target]) for job in jobs if job.target in failures)]
        rejected = [{**_where(path), **rejection(reason)} for path, reason in lost]
        note_region(out, (options or CopyOptions()).region)
        Manifest.from_rows(rows + rejected, base=out).write(out / "videos.parquet")
    manifest = Manifest.open(out / "videos.parquet")
    made = [job for job in todo if job.target not in failures]
    return Prepared(
        manifest=manifest,
        made=len(made),
        kept=len(jobs) - len(todo),
        failed=len(failures),
        seconds=time.monotonic() - started,
        media_seconds=sum(job.info.duration for job in made),
        bytes_before=sum({job.info.path: job.num_bytes for job in jobs if job.target not in failures}.values()),
        bytes_after=bytes_after,
    )


def _jobs(source: Manifest, out: Path, options: CopyOptions) -> tuple[list[Job], list[dict[str, Any]]]:
    """Return the copies to make, and the rows of their manifest: the columns that each takes from its source."""
    names = ("path", "member", "asked", "size_bytes", "mtime_ns", "labels", "group", "view", "name")
    columns = {name: source.column(name).to_pylist() for name in names}
    infos = [replace(info, motion=None, label=None, labels=None, name=None) for info in source]
    spans = [
        None if asked is None else f"{info.start:010.3f}-{info.start + info.duration:010.3f}"
        for asked, info in zip(columns["asked"], infos, strict=True)
    ]
    same = [(info.path, span) for info, span in zip(infos, spans, strict=True)]  # rows that share a copy
    rows = {recording: row for row, recording in reversed([*enumerate(same)])}  # the first of them
    firsts = sorted(rows.values())
    parts = [(f"{columns['path'][row]}/{columns['member'][row] or ''}".rstrip("/"), spans[row]) for row in firsts]
    targets = dict(zip(firsts, name_copies(parts), strict=True))
    jobs = [
        Job(infos[row], columns["size_bytes"][row], columns["mtime_ns"][row], out / target, options, spans[row])
        for row, target in targets.items()
    ]
    notes = [
        {"root": ".", "path": targets[rows[recording]]}
        | {name: columns[name][row] for name in ("labels", "group", "view", "name")}
        for row, recording in enumerate(same)
    ]
    return jobs, notes


def _path(job: Job, folder: Path) -> str:
    return job.target.relative_to(folder).as_posix()


def _where(path: Path) -> Row:
    """Return the columns of a manifest that say where a file, a member or an object is."""
    if path.is_absolute():
        return {"root": os.fspath(path.parent), "path": path.name}
    store, _, key = path.as_posix().partition(":")
    return {"root": ".", "store": store, "path": key}


def _is_current(job: Job, entry: dict[str, Any] | None, held: Held | None) -> bool:
    """Return whether a copy exists, as a file or in an archive, and is what its source and options give."""
    if entry is None or entry["key"] != job.key:
        return False
    if held is not None and held.content == entry["row"]["content"]:
        return True
    if not job.target.is_file():
        return False
    facts = job.target.stat()
    return (facts.st_size, facts.st_mtime_ns) == (entry["row"]["size_bytes"], entry["row"]["mtime_ns"])


def _copy(job: Job) -> Row:
    """Make one copy and measure it.

    Raises:
        SourceError: if the source's bytes can't be had now.
    """
    facts = None if job.info.source else job.info.path.stat()  # windows check theirs
    if facts is not None and (facts.st_size, facts.st_mtime_ns) != (job.size_bytes, job.mtime_ns):
        return rejection("changed: the file has changed since it was indexed; index it again")
    job.target.parent.mkdir(parents=True, exist_ok=True)
    try:
        write_copy(job.info, job.partial, job.options)
    except SourceError:
        raise
    except MediaError as error:
        job.partial.unlink(missing_ok=True)
        return rejection(f"{error.code}: {error.why}")
    row = measure_file(os.fspath(job.partial), motion=True)
    if row["status"] == "ok":
        if row["audio_rate"] is not None:
            row["sync_grade"] = job.info.sync_grade  # a copy is no more reliable than its source
        settle(job.partial, job.target)
        facts = job.target.stat()
        row |= {"size_bytes": facts.st_size, "mtime_ns": facts.st_mtime_ns, "reader": reader_version(True)}
    return row
