"""Building a dataset: all sources through all stages, in parallel, then packing."""

from __future__ import annotations

import base64
import contextlib
import importlib.util
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from avssl.avsync.alone import clean, sole_builder
from avssl.avsync.decide import check_calibration
from avssl.avsync.excerpts import SHORTEST, shared
from avssl.avsync.executors import Execution
from avssl.avsync.likeness import copies
from avssl.avsync.lmdbfolder import check_lmdb
from avssl.avsync.options import Options
from avssl.avsync.pack import WORK, Packed, pack
from avssl.avsync.reasons import Rejection
from avssl.avsync.recording import Job, model_version
from avssl.avsync.score import Scorer, check_shown, make_scorer
from avssl.avsync.source import process
from avssl.avsync.sources import Source, check_apart, identify, identity_of, scan
from avssl.avsync.store import Record, Store
from avssl.media.regions import noted_region
from avssl.runtime.executors import in_share
from avssl.runtime.files import FULL, disk_full
from avssl.runtime.progress import Tally
from avssl.runtime.workers import Failure, run_parallel, usable_cores


@dataclass
class Built:
    """Outcome of a build.

    Counts are of the sources (of the share), of sources per outcome (``kept``, or the reason), and of new records per
    stage; ``seconds`` is the time taken, and ``packed`` the dataset (None for a share).
    """

    sources: int
    outcomes: Counter[str]
    made: Counter[str]
    seconds: float
    packed: Packed | None = None

    def __str__(self) -> str:
        outcomes = ", ".join(f"{name} {count}" for name, count in self.outcomes.most_common())
        made = ", ".join(f"{stage} {count}" for stage, count in sorted(self.made.items())) or "nothing"
        lines = [f"{self.sources} sources in {self.seconds:.1f} s: {outcomes}", f"newly made: {made}"]
        return "\n".join(lines if self.packed is None else [*lines, str(self.packed)])


def build(
    roots: Sequence[Path],
    out: Path,
    options: Options | None = None,
    execution: Execution | None = None,
    labels: str = "auto",
    group: str | None = None,
    scorer: Scorer | None = None,
    metadata: Path | None = None,
) -> Built:
    """Build a sync dataset. Sources are only read; a build that was killed is resumed by running it again.

    The same sources and options give the same files, byte for byte, wherever and however often a build is run. A
    changed option redoes only the stages that depend on it.

    Args:
        roots: folders, also in stores, files or manifests.
        out: the dataset's folder.
        options: properties of the dataset.
        execution: where and how the work is done.
        labels: see :func:`scan`.
        group: see :func:`scan`.
        scorer: estimates offsets; None for the one that the options name.
        metadata: table about the sources, carried through as text, see :func:`scan`.

    Raises:
        MediaError: for a folder without media files.
        SourceError: if bytes in a store or an archive can't be had now; run it again to go on from there.
        InUse: if another process builds there; says which.
        ValueError: if ``out`` and the sources lie within one another, or options don't fit.
        OSError: if the disk is full or can't be written.
    """
    started = time.monotonic()
    options, execution, out = options or Options(), execution or Execution(), Path(os.path.abspath(out))
    scorer = scorer or make_scorer(options.sync, options.crops, options.faces.model is not None)
    check_calibration(options.sync, scorer)
    with gathered(roots, out, options, execution, labels, group, scorer, metadata) as found:
        sources, contents, outcomes = found.sources, found.contents, found.outcomes
        for place, outcome in zip(found.todo, found.stages.process(process, found.jobs), strict=True):
            outcomes[place] = outcome
        done = [outcome or {} for outcome in outcomes]
        reject_same_recordings(sources, done, options.accept.copies)
        if not options.accept.excerpts:
            reject_excerpts(sources, done)
        packed = None if execution.shard else pack(sources, contents, done, out, options)
    counts = Counter(outcome.get("reason", "kept") for outcome in done)
    return Built(len(sources), counts, found.stages.made, time.monotonic() - started, packed)


@dataclass
class Gathered:
    """The sources of a dataset, and what is to be done with them."""

    sources: list[Source]
    contents: list[Record]  # of each source
    outcomes: list[Record | None]  # rejections that follow from the contents alone
    todo: list[int]  # places of the other sources
    jobs: list[Job]  # of those
    stages: Stages


@contextlib.contextmanager
def gathered(
    roots: Sequence[Path],
    out: Path,
    options: Options,
    execution: Execution,
    labels: str,
    group: str | None,
    scorer: Scorer,
    metadata: Path | None = None,
) -> Iterator[Gathered]:
    """Find and hash the sources, and keep other builders out of the dataset's folder meanwhile; see :func:`build`."""
    sources = scan(roots, labels, group, metadata)
    check_apart(roots, sources, out)
    if options.shots.threshold and importlib.util.find_spec("scenedetect") is None:
        raise ValueError("PySceneDetect is not installed: `pip install scenedetect-headless`, or shots.threshold=0")
    for folder in sorted({file.parent for source in sources if (file := source.local) is not None}):
        check_shown(scorer, noted_region(folder))
    if options.faces.model is not None:
        model_version(options.faces.model)  # or an error that says where it comes from
    if options.pack.form == "lmdb":
        check_lmdb()
    if options.speech.mode != "off":
        from avssl.avsync.speech import speech_version

        speech_version()  # or an error that says what to install
    if execution.shard is not None:
        sources = [source for source in sources if in_share(source.name, execution.shard)]
    with sole_builder(out / WORK, execution.shard):
        if execution.shard is None:
            clean(out)
        stages = Stages(out, execution)
        contents = stages.identify(sources)
        outcomes = _without_duplicates(sources, contents)
        todo = [place for place, outcome in enumerate(outcomes) if outcome is None]
        common = (out / WORK, options, scorer, execution.retry)
        jobs = [Job(sources[place].place, contents[place]["content"], *common, sources[place].span) for place in todo]
        yield Gathered(sources, contents, outcomes, todo, jobs, stages)


@dataclass
class Stages:
    """Runs stages over sources and counts the outcomes."""

    out: Path
    execution: Execution
    made: Counter[str] = field(default_factory=Counter)

    def identify(self, sources: Sequence[Source]) -> list[Record]:
        """Return the content hash of every source, in order; of a segment, one that covers its seconds."""
        places = list(dict.fromkeys(source.place for source in sources))
        items = [(place, self.out / WORK, self.execution.retry) for place in places]
        found: dict[int, Record] = {}
        threads = ThreadPoolExecutor(self.execution.workers or usable_cores())  # reading and hashing release the GIL
        with threads, Tally(f"Hashing for {self.out.name}", len(items)) as tally:
            for place, result in run_parallel(identify, items, executor=self.execution.executor or threads):
                found[place] = self._record(result)
                tally.add("failed" if "reason" in found[place] else "hashed")
        records = {places[number]: record for number, record in found.items()}
        return [_of_segment(records[source.place], source) for source in sources]

    def process(self, work: Callable[[Job], Record], jobs: Sequence[Job]) -> list[Record]:
        """Return the outcome of each job, in order; earlier failures stand unless they are to be retried."""
        store = Store(self.out / WORK, self.execution.retry)
        found = {place: record for place, job in enumerate(jobs) if (record := store.find("failed", job.content))}
        todo = [place for place in range(len(jobs)) if place not in found]
        with Tally(f"Building {self.out.name}", len(todo)) as tally:
            for number, result in self.execution.run(work, [jobs[place] for place in todo]):
                job = jobs[todo[number]]
                record = self._record(result)
                if isinstance(result, Failure):
                    store.write("failed", job.content, record)
                else:
                    store.path("failed", job.content).unlink(missing_ok=True)  # from before it was retried
                self.made.update(record.pop("made", {}))
                found[todo[number]] = record
                tally.add(record.get("reason", "kept"))
        return [{"facts": {}, "clips": [], **found[place]} for place in range(len(jobs))]

    def _record(self, result: Record | Failure) -> Record:
        if not isinstance(result, Failure):
            return result
        if result.stops is not None:
            raise result.stops
        if result.errno in FULL:
            raise disk_full(result.errno, self.out)
        return Rejection(result.code, result.why)._asdict()


def _of_segment(content: Record, source: Source) -> Record:
    return content if "reason" in content else {"content": identity_of(content["content"], source.span)}


def _without_duplicates(sources: Sequence[Source], contents: Sequence[Record]) -> list[Record | None]:
    """Return the rejections that follow from the contents alone, else None. The first of equal files is kept."""
    first: dict[str, str] = {}
    outcomes: list[Record | None] = []
    for source, content in zip(sources, contents, strict=True):
        rejected = content if "reason" in content else None
        if rejected is None and content["content"] in first:
            rejected = Rejection("duplicate", f"the same bytes as {first[content['content']]}")._asdict()
        elif rejected is None:
            first[content["content"]] = source.name
        outcomes.append(rejected and {**rejected, "facts": {}, "clips": []})
    return outcomes


def reject_same_recordings(sources: Sequence[Source], outcomes: Sequence[Record], keep_copies: bool) -> None:
    """Reject, in place, sources that are the same recording as an earlier one, in another file.

    Its clips are all those of the other, or it is a copy, encoded in another way, unless those are to be kept.
    """
    first: dict[tuple[str, ...], str] = {}
    for source, outcome in zip(sources, outcomes, strict=True):
        clips = tuple(clip["row"]["content"] for clip in outcome["clips"] if "row" in clip)
        if clips in first:
            outcome |= Rejection("duplicate", f"decodes to the same pictures and sound as {first[clips]}")._asdict()
            outcome["clips"] = []
        elif clips:
            first[clips] = source.name
    if keep_copies:
        return
    left = [{} if "reason" in outcome else outcome for outcome in outcomes]
    for place, earlier in copies(left).items():
        why = f"shows and sounds like {sources[earlier].name}, encoded in another way (--accept.copies=true keeps it)"
        outcomes[place].update({**Rejection("duplicate", why)._asdict(), "clips": []})


def reject_excerpts(sources: Sequence[Source], outcomes: Sequence[Record]) -> None:
    """Reject, in place, sources of which half or more shows and sounds what a part of an earlier one does."""
    places = [place for place, outcome in enumerate(outcomes) if "reason" not in outcome and "hashes" in outcome]
    hashes = [np.frombuffer(base64.b64decode(outcomes[place]["hashes"]), "<u4") for place in places]
    glimpses = [np.frombuffer(base64.b64decode(outcomes[place]["glimpses"]), np.uint8) for place in places]
    for found in sorted(shared(hashes, [own.reshape(-1, 64) for own in glimpses])):
        early, late = places[found.first], places[found.second]
        if "reason" in outcomes[early] or "reason" in outcomes[late]:
            continue
        if found.seconds < max(0.5 * outcomes[late]["seconds"], SHORTEST):
            continue
        seconds, begin = outcomes[late]["seconds"], max(0.0, -found.offset)
        where = f"{found.seconds:.1f} of its {seconds:.1f} s are in {sources[early].name}, from {begin:.1f} s on"
        rejection = Rejection("duplicate", f"{where} (--accept.excerpts=true keeps it)")
        outcomes[late].update({**rejection._asdict(), "clips": []})
