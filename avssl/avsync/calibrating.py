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
from avssl.avsync.score import Scorer, framing_shown, make_scorer
from avssl.avsync.store import Record, Store, key_of
from avssl.runtime.files import write_atomically
from avssl.sync.calibration import WITHIN, Calibration, fit

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
        top = found.probabilities[-1]
        lines = [
            f"{found.trials} estimates on {found.recordings} recordings: {self.right:.3f} of those of pairs that belong"
            f" together are within {1000 * WITHIN:.0f} ms (random offsets {self.chance:.3f})",
            f"squared error of the probabilities, on recordings left out: {found.brier:.4f} (one probability for all:"
            f" {found.brier_of_mean:.4f}); the highest is {top:.3f}",
            str(self.path),
        ]
        if top < 0.95:
            lines.insert(2, "no estimate is right with 0.95: --sync.mode=realign would move nothing")
        return "\n".join(lines)


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
    where the recording is long enough, with sound from far away, of which no estimate is right. The arguments are
    those of `build`; recordings must be others than the scorer was trained on.

    Raises:
        ValueError: with fewer than ten recordings.
    """
    options, execution, out = options or Options(), execution or Execution(), Path(os.path.abspath(out))
    scorer = scorer or make_scorer(options.sync, options.crops, options.faces.model is not None)
    with gathered(roots, out, options, execution, labels, group, scorer) as found:
        records = found.stages.process(try_source, found.jobs)
    groups = [found.sources[place].group for place in found.todo]
    rows = [
        (group, *trial) for group, record in zip(groups, records, strict=True) for trial in record.get("trials", [])
    ]
    if not rows:
        raise ValueError(f"{[str(root) for root in roots]}: no clip can be scored; see what `avssl build` says of them")
    names = np.unique([row[0] for row in rows], return_inverse=True)[1]
    late, offset, confidence = (np.array([row[column] for row in rows], float) for column in (1, 2, 3))
    edge, reach = np.array([row[4] for row in rows], bool), options.sync.max_offset
    right = (np.abs(offset - late) <= WITHIN + 1e-6) & ~edge
    seconds = options.cut.min_seconds or options.cut.seconds
    calibration = fit(confidence, right, names, scorer.name(), reach, seconds)
    calibration.save(out / "calibration.json")
    write_atomically(out / "calibration.png", lambda file: picture(calibration).savefig(file, format="png", dpi=110))
    possible = np.abs(late) <= reach
    return Calibrated(calibration, out / "calibration.json", float(right[possible].mean()), 2 * WITHIN / (2 * reach))


def try_source(job: Job) -> Record:
    """Score clips of a source with shifted sound; ``trials`` are (late, offset, confidence, edge)."""
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
            for late in _shifts(recording, span, reach, rng):
                seen = candidates[span].seen
                face = seen[0].track if tracked and seen else None
                found.append([late, *job.scorer(recording.scored(span, late, face))])
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
    """Draw predicted probabilities against the shares that are right."""
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="grey", lw=0.5)
    axes.plot([part.predicted for part in found.reliability], [part.right for part in found.reliability], "o-")
    axes.set_xlabel("probability, predicted for recordings left out")
    axes.set_ylabel(f"share of estimates within {1000 * WITHIN:.0f} ms")
    axes.set_title(f"{found.trials} estimates, {found.recordings} recordings; squared error {found.brier:.3f}")
    return figure
