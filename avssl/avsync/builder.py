"""All sources through all stages, in parallel, and the dataset that comes of them."""

from __future__ import annotations

import errno
import importlib.util
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avssl.avsync.options import Options
from avssl.avsync.pack import WORK, Packed, pack
from avssl.avsync.reasons import Rejection
from avssl.avsync.score import Scorer, make_scorer
from avssl.avsync.source import Job, process
from avssl.avsync.sources import Source, check_apart, identify, in_share, scan
from avssl.avsync.store import Record, Store
from avssl.runtime.progress import Tally
from avssl.runtime.workers import Failure, run_parallel, usable_cores

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}  # no other source will fare better


@dataclass
class Machine:
    """Where the work is done; the dataset doesn't depend on it.

    Attributes:
        workers: number of processes; None for one a core.
        timeout: seconds after which a source is given up, and the process that works on it killed.
        executor: run there instead: ``timeout`` can't be kept then, as no executor kills a task.
        shard: (I, N): do only share I of N, counted from 1, and pack nothing.
        retry: try again what was rejected before.
    """

    workers: int | None = None
    timeout: float = 3600.0
    executor: Executor | None = None
    shard: tuple[int, int] | None = None
    retry: bool = False

    def run(self, function: Callable[[Any], Record], items: Sequence[Any]) -> Iterator[tuple[int, Record | Failure]]:
        """See :func:`run_parallel`."""
        timeout = None if self.executor is not None else self.timeout
        return run_parallel(function, items, self.workers, timeout, self.executor)


@dataclass
class Built:
    """What was done.

    Attributes:
        sources: how many there are (of the share).
        outcomes: how many of them came to what: ``kept``, or the reason.
        made: how many records of each stage are new.
        seconds: time it took.
        packed: the dataset; None for a share.
    """

    sources: int
    outcomes: Counter[str]
    made: Counter[str]
    seconds: float
    packed: Packed | None = None

    def __str__(self) -> str:
        outcomes = ", ".join(f"{name} {count}" for name, count in self.outcomes.most_common())
        made = ", ".join(f"{stage} {count}" for stage, count in sorted(self.made.items())) or "nothing"
        lines = [f"{self.sources} sources in {self.seconds:.1f} s: {outcomes}", f"made anew: {made}"]
        if self.packed is not None:
            lines.append(str(self.packed))
        return "\n".join(lines)


def build(
    roots: Sequence[Path],
    out: Path,
    options: Options | None = None,
    machine: Machine | None = None,
    labels: str = "auto",
    group: str | None = None,
    scorer: Scorer | None = None,
) -> Built:
    """Build a sync dataset. Sources are only read; a build that was killed goes on when it is run again.

    The same sources and options give the same files, byte for byte, whatever the machine and however often a build
    was interrupted. A changed option redoes the stages that depend on it, and those only.

    Args:
        roots: folders, files or manifests.
        out: folder of the dataset.
        options: what it is like.
        machine: where the work is done.
        labels: see :func:`scan`.
        group: see :func:`scan`.
        scorer: estimates offsets; None for the one that the options name.

    Raises:
        MediaError: for a folder without media files.
        ValueError: where ``out`` and the sources lie within one another, or options don't fit.
        OSError: where the disk is full or can't be written.
    """
    started = time.monotonic()
    options, machine, out = options or Options(), machine or Machine(), Path(os.path.abspath(out))
    scorer = scorer or make_scorer(options.sync)
    sources = scan(roots, labels, group)
    check_apart(roots, sources, out)
    if options.shots.threshold and importlib.util.find_spec("scenedetect") is None:
        raise ValueError("PySceneDetect is not installed: `pip install scenedetect-headless`, or shots.threshold=0")
    if machine.shard is not None:
        sources = [source for source in sources if in_share(source, machine.shard)]
    (out / WORK).mkdir(parents=True, exist_ok=True)
    progress = _Progress(out, machine)
    contents = progress.identify(sources)
    outcomes = _without_duplicates(sources, contents)
    todo = [place for place, outcome in enumerate(outcomes) if outcome is None]
    jobs = [
        Job(sources[place].path, contents[place]["content"], out / WORK, options, scorer, machine.retry)
        for place in todo
    ]
    for place, outcome in zip(todo, progress.process(jobs), strict=True):
        outcomes[place] = outcome
    done: list[Record] = [outcome or {} for outcome in outcomes]
    _same_recordings(sources, done)
    packed = None if machine.shard else pack(sources, contents, done, out, options)
    counts = Counter(outcome.get("reason", "kept") for outcome in done)
    return Built(len(sources), counts, progress.made, time.monotonic() - started, packed)


@dataclass
class _Progress:
    """Runs stages over sources and counts what comes of them."""

    out: Path
    machine: Machine
    made: Counter[str] = field(default_factory=Counter)

    def identify(self, sources: Sequence[Source]) -> list[Record]:
        """What the sources hold, in their order."""
        items = [(source.path, self.out / WORK, self.machine.retry) for source in sources]
        found: dict[int, Record] = {}
        threads = ThreadPoolExecutor(self.machine.workers or usable_cores())  # reading and hashing let others run
        with threads, Tally(f"Hashing for {self.out.name}", len(items)) as tally:
            for place, result in run_parallel(identify, items, executor=self.machine.executor or threads):
                found[place] = self._settled(result, str(items[place][0]))
                tally.add("failed" if "reason" in found[place] else "hashed")
        return [found[place] for place in range(len(items))]

    def process(self, jobs: Sequence[Job]) -> list[Record]:
        """What comes of each job, in their order; failures of old are believed unless they are to be tried again."""
        store = Store(self.out / WORK, self.machine.retry)
        found = {place: record for place, job in enumerate(jobs) if (record := store.find("failed", job.content))}
        todo = [place for place in range(len(jobs)) if place not in found]
        with Tally(f"Building {self.out.name}", len(todo)) as tally:
            for number, result in self.machine.run(process, [jobs[place] for place in todo]):
                job = jobs[todo[number]]
                record = self._settled(result, str(job.path))
                if isinstance(result, Failure):
                    store.write("failed", job.content, record)
                else:
                    store.path("failed", job.content).unlink(missing_ok=True)  # from before it was tried again
                self.made.update(record.pop("made", {}))
                found[todo[number]] = record
                tally.add(record.get("reason", "kept"))
        return [{"facts": {}, "clips": [], **found[place]} for place in range(len(jobs))]

    def _settled(self, result: Record | Failure, path: str) -> Record:
        if not isinstance(result, Failure):
            return result
        if result.errno in FULL:
            raise OSError(result.errno, f"{os.strerror(result.errno)}; run again to go on", path)
        return Rejection(result.code, result.why)._asdict()


def _without_duplicates(sources: Sequence[Source], contents: Sequence[Record]) -> list[Record | None]:
    """What is decided by the contents alone: a rejection, or None. Of equal files the first counts."""
    first: dict[str, str] = {}
    outcomes: list[Record | None] = []
    for source, content in zip(sources, contents, strict=True):
        if "reason" in content:
            outcomes.append({**content, "facts": {}, "clips": []})
        elif content["content"] in first:
            why = f"the same bytes as {first[content['content']]}"
            outcomes.append({**Rejection("duplicate", why)._asdict(), "facts": {}, "clips": []})
        else:
            first[content["content"]] = source.name
            outcomes.append(None)
    return outcomes


def _same_recordings(sources: Sequence[Source], outcomes: Sequence[Record]) -> None:
    """Reject, in place, sources whose clips are all those of an earlier one: the same recording, wrapped otherwise."""
    first: dict[tuple[str, ...], str] = {}
    for source, outcome in zip(sources, outcomes, strict=True):
        clips = tuple(clip["row"]["content"] for clip in outcome["clips"] if "row" in clip)
        if not clips:
            continue
        if clips in first:
            outcome |= Rejection("duplicate", f"decodes to the same pictures and sound as {first[clips]}")._asdict()
            outcome["clips"] = []
        first.setdefault(clips, source.name)
