"""Training-ready copies of a collection, made in parallel, and their manifest."""

from __future__ import annotations

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
from avssl.catalog.index import PREPARING
from avssl.catalog.manifest import Manifest
from avssl.catalog.measuring import Row, frozen, measure_file, reader_version, rejection, thawed
from avssl.media import MediaError, VideoInfo
from avssl.media.source import names_inside
from avssl.runtime.checks import check_ranges
from avssl.runtime.files import FULL, Journal, disk_full, settle
from avssl.runtime.progress import Tally
from avssl.runtime.workers import Failure, run_parallel

LONGEST = 255  # bytes of a file name


class Job(NamedTuple):
    """One copy to make: its source as in the manifest, the source's size and modification time, and the target."""

    info: VideoInfo
    size_bytes: int
    mtime_ns: int | None
    target: Path
    options: CopyOptions
    span: str | None = None  # seconds of a segment

    @property
    def key(self) -> str:
        """Hash of everything that the copy depends on."""
        facts = [os.fspath(self.info.path), self.size_bytes, self.mtime_ns]
        if self.span is not None:
            facts += [self.info.start, self.info.duration]
        if self.info.source is not None:
            facts.append(str(self.info.source))
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
) -> Prepared:
    """Make a training-ready copy of every usable video, see :func:`avssl.catalog.encode.write_copy`.

    Copies have the same relative paths in ``out`` as their sources have in their root; to those of segments their
    seconds are added, and segments that are the same share one. ``out/videos.parquet`` is their manifest, with the
    names, labels, groups, views and ``sync_grade`` of the sources. A copy is complete or absent. One made
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
        DiskFull: if nothing more can be written.
    """
    check_ranges("", {"workers": workers, "timeout": timeout}, workers="[1, inf)", timeout="(0, inf)")
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
        failures: dict[Path, str] = {}  # by target
        with Tally(f"Preparing {out.name}", len(todo)) as tally:
            for position, result in run_parallel(_copy, todo, workers, timeout):
                job = todo[position]
                if isinstance(result, Failure):
                    job.partial.unlink(missing_ok=True)
                    if result.errno in FULL:
                        raise disk_full(result.errno, job.target.parent)
                    result = rejection(f"{result.code}: {result.why}")
                if result["status"] == "ok":
                    journal.append(os.fspath(job.target), {"key": job.key, "row": frozen(result)})
                else:
                    failures[job.target] = result["reason"]
                tally.add("made" if result["status"] == "ok" else "failed")
        rows = [
            {**thawed(journal.entries[os.fspath(out / note["path"])]["row"]), **note}
            for note in notes
            if out / note["path"] not in failures
        ]
        lost = [*source.rejected, *((job.info.path, failures[job.target]) for job in jobs if job.target in failures)]
        rejected = [{"root": os.fspath(path.parent), "path": path.name, **rejection(reason)} for path, reason in lost]
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
        bytes_before=sum(job.size_bytes for job in jobs if job.target not in failures),
        bytes_after=sum({row["path"]: row["size_bytes"] for row in rows}.values()),
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
    targets = dict(zip(firsts, _targets(parts), strict=True))
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


def _targets(parts: Sequence[tuple[str, str | None]]) -> list[str]:
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


def _is_current(job: Job, entry: dict[str, Any] | None) -> bool:
    if entry is None or entry["key"] != job.key or not job.target.is_file():
        return False
    facts = job.target.stat()
    return (facts.st_size, facts.st_mtime_ns) == (entry["row"]["size_bytes"], entry["row"]["mtime_ns"])


def _copy(job: Job) -> Row:
    """Make one copy and measure it."""
    facts = None if job.info.source else job.info.path.stat()  # windows check theirs
    if facts is not None and (facts.st_size, facts.st_mtime_ns) != (job.size_bytes, job.mtime_ns):
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
