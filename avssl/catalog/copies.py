"""Training-ready copies of a collection, made in parallel, and their manifest."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import av

import avssl
from avssl.catalog.encode import VERSION, CopyOptions, write_copy
from avssl.catalog.index import PREPARING, Row, frozen, measure_file, reader_version, rejection, thawed
from avssl.catalog.manifest import Manifest
from avssl.media import MediaError, VideoInfo
from avssl.runtime.files import Journal, settle
from avssl.runtime.progress import Tally
from avssl.runtime.workers import Failure, run_parallel

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}  # these would fail every other file too


class Job(NamedTuple):
    """One copy to make: its source as in the manifest, the source's size and modification time, and the target."""

    info: VideoInfo
    size_bytes: int
    mtime_ns: int
    target: Path
    options: CopyOptions

    @property
    def key(self) -> str:
        """Hash of everything that the copy depends on."""
        source = (os.fspath(self.info.path), self.size_bytes, self.mtime_ns)
        facts = [*source, asdict(self.options), VERSION, avssl.__version__, av.__version__]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    @property
    def partial(self) -> Path:
        """Temporary file until the copy is complete."""
        return self.target.with_name(f".{self.target.name}.partial")


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
) -> Prepared:
    """Make a training-ready copy of every usable video, see :func:`avssl.catalog.encode.write_copy`.

    Copies have the same relative paths in ``out`` as their sources have in their root. ``out/videos.parquet`` is their
    manifest, with the labels, groups, views and ``sync_grade`` of the sources. A copy is complete or absent. One made
    from the same source with the same options is kept, so a killed run resumes when it is run again. Sources are never
    changed.

    Args:
        source: the videos.
        out: folder for the copies; created if needed.
        options: format of the copies.
        workers: number of processes; None for one per core.
        timeout: seconds after which a video is given up.

    Raises:
        ValueError: if ``out`` is inside the sources' folder, two sources would become one file, or one is an image.
        OSError: if the disk is full or can't be written.
    """
    out = Path(os.path.abspath(out))
    for root in source.roots:
        if out.resolve().is_relative_to(root.resolve()):
            raise ValueError(f"{out} is inside {root}, which has the originals: choose a folder elsewhere")
    if "image" in source.column("container").to_pylist():
        raise ValueError("some sources are images, which are read as they are: prepare only videos")
    started = time.monotonic()
    jobs, notes = _jobs(source, out, options or CopyOptions())
    with Journal(out / PREPARING) as journal:
        todo = [job for job in jobs if not _is_current(job, journal.entries.get(os.fspath(job.target)))]
        failures: dict[Path, str] = {}
        with Tally(f"Preparing {out.name}", len(todo)) as tally:
            for position, result in run_parallel(_copy, todo, workers, timeout):
                job = todo[position]
                if isinstance(result, Failure):
                    job.partial.unlink(missing_ok=True)
                    if result.errno in FULL:
                        why = f"{os.strerror(result.errno)}; run again to resume"
                        raise OSError(result.errno, why, os.fspath(job.target))
                    result = rejection(f"{result.code}: {result.why}")
                if result["status"] == "ok":
                    journal.append(os.fspath(job.target), {"key": job.key, "row": frozen(result)})
                else:
                    failures[job.info.path] = result["reason"]
                tally.add("made" if result["status"] == "ok" else "failed")
        rows = [
            {**thawed(journal.entries[os.fspath(job.target)]["row"]), **note}
            for job, note in zip(jobs, notes, strict=True)
            if job.info.path not in failures
        ]
        lost = [*source.rejected, *failures.items()]
        rejected = [{"root": os.fspath(path.parent), "path": path.name, **rejection(reason)} for path, reason in lost]
        Manifest.from_rows(rows + rejected, base=out).write(out / "videos.parquet")
    manifest = Manifest.open(out / "videos.parquet")
    made = [job for job in todo if job.info.path not in failures]
    return Prepared(
        manifest=manifest,
        made=len(made),
        kept=len(jobs) - len(todo),
        failed=len(failures),
        seconds=time.monotonic() - started,
        media_seconds=sum(job.info.duration for job in made),
        bytes_before=sum(job.size_bytes for job in jobs if job.info.path not in failures),
        bytes_after=sum(row["size_bytes"] for row in rows),
    )


def _jobs(source: Manifest, out: Path, options: CopyOptions) -> tuple[list[Job], list[dict[str, Any]]]:
    """Return the copies to make, and the columns that each takes from its source and its path."""
    targets = _targets(source.column("path").to_pylist())
    names = ("size_bytes", "mtime_ns", "label", "group", "view")
    columns = [source.column(name).to_pylist() for name in names]
    jobs, notes = [], []
    for info, target, size, mtime, label, group, view in zip(source, targets, *columns, strict=True):
        jobs.append(Job(replace(info, motion=None, label=None), size, mtime, out / target, options))
        notes.append({"root": ".", "path": target, "label": label, "group": group, "view": view})
    return jobs, notes


def _targets(paths: Sequence[str]) -> list[str]:
    """Replace each path's suffix by .mp4, or append .mp4 if two paths would become one."""
    plain = [PurePosixPath(path).with_suffix(".mp4").as_posix() for path in paths]
    counts = Counter(map(str.casefold, plain))
    targets = [f"{path}.mp4" if counts[name.casefold()] > 1 else name for name, path in zip(plain, paths, strict=True)]
    same = [target for target, count in Counter(map(str.casefold, targets)).items() if count > 1]
    if same:
        why = f"{len(same)} copies would each have several sources, such as {same[0]}"
        raise ValueError(f"{why}: prepare each collection into its own folder")
    return targets


def _is_current(job: Job, entry: dict[str, Any] | None) -> bool:
    if entry is None or entry["key"] != job.key or not job.target.is_file():
        return False
    facts = job.target.stat()
    return (facts.st_size, facts.st_mtime_ns) == (entry["row"]["size_bytes"], entry["row"]["mtime_ns"])


def _copy(job: Job) -> Row:
    """Make one copy and measure it."""
    facts = job.info.path.stat()
    if (facts.st_size, facts.st_mtime_ns) != (job.size_bytes, job.mtime_ns):
        return rejection("changed: the file has changed since it was indexed; index it again")
    job.target.parent.mkdir(parents=True, exist_ok=True)
    try:
        write_copy(job.info, job.partial, job.options)
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
