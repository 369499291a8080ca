"""Measuring what a scorer's confidence means, on recordings in sync: their sound is shifted by known amounts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from avssl.avsync.builder import gathered
from avssl.avsync.clips import Span
from avssl.avsync.executors import Execution
from avssl.avsync.options import Options
from avssl.avsync.recording import VERSIONS, Candidate, Job, Recording, recorded
from avssl.avsync.score import Score, Scorer, framing_shown, make_scorer
from avssl.avsync.store import Record, Store, key_of
from avssl.avsync.together import Trace, traced
from avssl.avsync.trials import Clips, Trial, calibrated
from avssl.runtime.files import write_atomically
from avssl.sync.calibration import WITHIN, Calibration

CLIPS = 4  # of each recording
SHIFTS = 4  # of each clip; the first is 0
STEP = 0.02  # seconds
MARGIN = 0.1  # seconds from the end of what is searched, within which sound is not shifted


@dataclass(frozen=True)
class Calibrated:
    """Outcome of :func:`calibrate`."""

    calibration: Calibration
    path: Path
    right: float  # share of the estimates that are within 40 ms, of those that can be
    chance: float  # the same of a random offset

    def __str__(self) -> str:
        found = self.calibration
        top = max(part.probabilities[-1] for part in (found, found.together) if part)
        lines = [
            f"{found.trials} estimates on {found.recordings} recordings: {self.right:.3f} of those of pairs that belong"
            f" together are within {1000 * WITHIN:.0f} ms (random offsets {self.chance:.3f})",
            f"squared error of the probabilities, on recordings left out: {found.brier:.4f} (one probability for all:"
            f" {found.brier_of_mean:.4f}); the highest is {found.probabilities[-1]:.3f}, or {found.lower[-1]:.3f} by"
            " draws of the recordings",
        ]
        if (joint := found.together) is not None:
            lines.append(
                f"of {joint.clips} clips of a recording together ({joint.recordings} recordings): {joint.brier:.4f}"
                f" ({joint.brier_of_mean:.4f}); the highest is {joint.probabilities[-1]:.3f}"
            )
        if top < 0.95:
            lines.append("no estimate is right with 0.95: --sync.mode=realign would move nothing")
        return "\n".join([*lines, str(self.path)])


def calibrate(
    roots: Sequence[Path],
    out: Path,
    options: Options | None = None,
    execution: Execution | None = None,
    labels: str = "auto",
    group: str | None = None,
    scorer: Scorer | None = None,
) -> Calibrated:
    """Measure what a confidence means on recordings in sync, and write ``calibration.json`` and ``.png`` to ``out``.

    A few clips of each are scored with their sound as it is, and later or earlier by up to the largest offset; and,
    where the recording is long enough, with sound from far away, of which no estimate is right. If a network scores,
    so is what clips of a recording say together. The arguments are those of `build`; recordings must be others than the
    scorer was trained on.

    Raises:
        ValueError: with fewer than ten recordings.
    """
    options, execution, out = options or Options(), execution or Execution(), Path(os.path.abspath(out))
    scorer = scorer or make_scorer(options.sync, options.crops, options.faces.model is not None)
    with gathered(roots, out, options, execution, labels, group, scorer) as found:
        records = found.stages.process(try_source, found.jobs)
    groups = [found.sources[place].group for place in found.todo]
    tried = [(group, _clips_of(record)) for group, record in zip(groups, records, strict=True)]
    if not any(clips for _, clips in tried):
        raise ValueError(f"{[str(root) for root in roots]}: no clip can be scored; see what `avssl build` says of them")
    reach, seconds = options.sync.max_offset, options.cut.min_seconds or options.cut.seconds
    calibration = calibrated(tried, scorer.name(), reach, seconds)
    calibration.save(out / "calibration.json")
    write_atomically(out / "calibration.png", lambda file: picture(calibration).savefig(file, format="png", dpi=110))
    every = [trial for _, clips in tried for one in clips for trial in one]
    hits = [trial.right for trial in every if abs(trial.late) <= reach]
    return Calibrated(calibration, out / "calibration.json", float(np.mean(hits)), 2 * WITHIN / (2 * reach))


def _clips_of(record: Record) -> Clips:
    """Return the trials of each clip of a source, as they are kept in the store."""
    return [
        [Trial(late, Score(*score), Trace(*trace)) for late, score, trace in trials]
        for trials in record.get("trials", ())
        if trials
    ]


def try_source(job: Job) -> Record:
    """Score clips of a source with shifted sound; ``trials`` are those of each clip: (late, estimate, curve)."""
    store = Store(job.store, job.retry)
    outcome, recording = recorded(job, store)
    if recording is None:
        return {**outcome, "made": store.made}
    tracked = framing_shown(job.scorer) is not None
    candidates = recording.clips(job.options, tracked)
    fit_ones = [span for span, clip in candidates.items() if _known(clip, tracked)]
    chosen = [fit_ones[place] for place in np.linspace(0, len(fit_ones) - 1, min(CLIPS, len(fit_ones))).astype(int)]
    reach = job.options.sync.max_offset

    def trials() -> Record:
        rng = np.random.default_rng(int(job.content[:16], 16))
        found = []
        for span in chosen:
            seen = candidates[span].seen
            face = seen[0].track if tracked and seen else None
            lates = _shifts(recording, span, reach, rng)
            found.append([[late, *traced(job.scorer, recording.scored(span, late, face))] for late in lates])
        return {"trials": found}

    facts = (recording.tracked,) if tracked else ()
    key = key_of(recording.seen, VERSIONS["scores"], chosen, job.scorer.name(), recording.shown, CLIPS, *facts)
    record = store.record("trials", key, trials)
    return {"trials": record["trials"], "made": store.made}


def _known(clip: Candidate, tracked: bool) -> bool:
    """Return whether it is known what of a clip is in sync: of its faces, if they are scored, the only one."""
    fit_enough = clip.rejection is None and clip.silence is None
    return fit_enough and (not tracked or (len(clip.seen or ()) == 1 and clip.fault is None))


def _shifts(recording: Recording, span: Span, reach: float, rng: np.random.Generator) -> list[float]:
    """Return seconds by which the sound of a clip may be shifted without leaving the recording's."""
    begin, end = (float(edge / recording.fps) for edge in span)
    sound = recording.observed.sound
    steps = np.arange(1, int((reach - MARGIN) / STEP + 1e-6) + 1) * STEP
    both = np.concatenate([-steps[::-1], steps])
    possible = both[(begin - both >= sound[0]) & (end - both <= sound[1])]
    shifts = [0.0, *rng.permutation(possible)[: SHIFTS - 1].tolist()]
    far = 2 * reach + (end - begin)
    away = [late for late in (far, -far) if begin - late >= sound[0] and end - late <= sound[1]]
    return shifts + away


def picture(found: Calibration) -> Figure:
    """Draw predicted probabilities against the shares that are right, of single clips and of all of a recording."""
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="grey", lw=0.5)
    for part in (found, found.together):
        if part is not None:
            name = f"{part.clips} clips together" if part.clips > 1 else "a clip"
            shares = [(step.predicted, step.right) for step in part.reliability]
            axes.plot(*zip(*shares, strict=True), "o-", label=f"{name}: squared error {part.brier:.3f}")
    axes.set_xlabel("probability, predicted for recordings left out")
    axes.set_ylabel(f"share of estimates within {1000 * WITHIN:.0f} ms")
    axes.set_title(f"{found.trials} estimates, {found.recordings} recordings")
    axes.legend()
    return figure
