"""Does realign mend what is out of sync, and leave alone what isn't? Networks and recordings of `benchmarks/travel.py`.

    python benchmarks/realigning.py travel --run travel/runs/whole_lips

A source is eight recordings of a kind (9 s), or as many as ``--shots`` says, whose sounds are late by the same. The
sources of four fifths of the test groups calibrate (`avssl.avsync.trials`): their sound as it is, shifted by known
amounts, and of other recordings. Those of the last fifth are left in sync, or shifted by 0.1 to 0.3 s, and go through
the rules of ``--sync.mode=realign``. Then the fifths change places, so that every source is tried once, with a
calibration that hasn't seen it.
"""

from __future__ import annotations

import argparse
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from travel import KINDS

from avssl.avsync.calibrating import picture as calibration_picture
from avssl.avsync.clips import Span
from avssl.avsync.decide import Verdict, decide
from avssl.avsync.options import Sync
from avssl.avsync.score import Score
from avssl.avsync.together import Trace
from avssl.avsync.trials import Clips, Trial, calibrated
from avssl.evaluation.metrics import bootstrap
from avssl.evaluation.synchrony import Displaced
from avssl.media import open_video
from avssl.runtime.progress import Tally
from avssl.sync.calibration import WITHIN
from avssl.sync.network import Synchroniser
from avssl.sync.offset import Curve, curve, load_synchroniser, offset_from, offset_grid

REACH, STEP, LATEST = 0.4, 0.02, 0.3  # seconds: searched, between offsets, and largest shift
FOLDS, FRAMES, SHIFTS = 5, 29, 3  # parts of the sources; of each recording, frames, and shifts to calibrate
FPS = Fraction(25)
AWAY = 10.0  # seconds, stands for the sound of another recording


class Source(NamedTuple):
    """Recordings whose sounds are late by the same."""

    name: str  # the same for the same recordings of another kind
    kind: str
    own: list[Curve]
    strange: list[Curve]  # with the sounds of others


def realign(args: argparse.Namespace) -> None:
    """Calibrate on four fifths of the test groups, move the sound of sources of the last, or leave it, and change."""
    folds = sources(args, load_synchroniser(args.run))
    rng, left, mended, sure = np.random.default_rng(0), [], [], []
    for number, tried in enumerate(folds):
        known = [one for other, fold in enumerate(folds) if other != number for one in fold]
        found = calibrated([(one.name, trials_of(one, rng)) for one in known], "travel", REACH, FRAMES / 25)
        path = args.out / f"calibration{number}.json"
        found.save(path)
        calibration_picture(found).savefig(path.with_suffix(".png"), dpi=110)
        for part in (found, found.together):
            if part is not None:
                print(
                    f"{part.clips} clips a source: {part.trials} trials on {part.recordings} groups; squared error"
                    f" {part.brier:.3f} (one probability for all: {part.brier_of_mean:.3f}); highest probability"
                    f" {part.probabilities[-1]:.3f}, or {part.lower[-1]:.3f} by draws; tenth of the surest: predicted"
                    f" {part.reliability[-1].predicted:.2f}, right {part.reliability[-1].right:.2f}"
                )
        options = Sync("realign", max_offset=REACH, calibration=path)
        for one in tried:
            verdict = verdict_of(one, 0.0, options)
            left.append(verdict.decision != "moved")
            sure.append(verdict.decision == "in_sync")
            late = float(rng.choice([-1, 1]) * rng.integers(5, round(LATEST / STEP) + 1) * STEP)
            verdict = verdict_of(one, late, options)
            mended.append((verdict.decision == "moved", abs(verdict.shift - late) <= WITHIN + 1e-6))
    every = [one for fold in folds for one in fold]
    for kind in (*args.kinds, "all"):
        rows = np.array([kind in (one.kind, "all") for one in every])
        names = [one.name for one, chosen in zip(every, rows, strict=True) if chosen]
        moved, right = np.array(mended).T
        for words, values in (
            ("in sync, moved", ~np.array(left)),
            ("in sync, found to be", np.array(sure)),
            ("shifted, mended to 40 ms", moved & right),
            ("shifted, moved elsewhere", moved & ~right),
        ):
            chosen = values[rows].astype(float)
            low, high = bootstrap(chosen[None], names, 0)
            print(f"{kind}: {words}: {chosen.mean():.3f} ({low:.3f} to {high:.3f}) of {len(chosen)} sources")


def sources(args: argparse.Namespace, network: Synchroniser) -> list[list[Source]]:
    """Return the sources of each fifth of the test groups."""
    parts = sorted({path.name for kind in args.kinds for path in (args.out / kind / "test").iterdir()})
    order, grid = np.random.default_rng(0).permutation(len(parts)), offset_grid(REACH + LATEST, STEP)
    folds: list[list[Source]] = [[] for _ in range(FOLDS)]
    with Tally("groups", len(args.kinds) * len(parts)) as tally:
        for fold, found in enumerate(folds):
            names = [parts[place] for place in order[fold::FOLDS]]
            for kind in args.kinds:
                paths = [path for name in names for path in sorted((args.out / kind / "test" / name).glob("*.mp4"))]
                for place in range(0, len(paths) - args.shots + 1, args.shots):
                    shots = paths[place : place + args.shots]
                    others = [paths[(place + args.shots + shot) % len(paths)] for shot in range(args.shots)]
                    own = [measured(path, path, network, grid) for path in shots]
                    strange = [measured(*pair, network, grid) for pair in zip(shots, others, strict=True)]
                    found.append(Source(f"{fold} {place}", kind, own, strange))
                for _ in names:
                    tally.add("measured")
    return folds


def measured(picture: Path, sound: Path, network: Synchroniser, grid: torch.Tensor) -> Curve:
    """Return the curve of the pictures of one recording with the sound of another."""
    with open_video(picture) as shown, open_video(sound) as heard:
        return curve(Displaced(shown, 0.0, heard), network, grid)


def estimate(own: Curve, late: float) -> tuple[Score, Trace]:
    """Return the estimate for a recording whose sound is made ``late``, as if no more than the reach were searched."""
    offsets = own.offsets + late
    inside = offsets.abs() <= REACH + 1e-6
    found = offset_from(Curve(offsets[inside], own.distances[inside], own.windows[inside], own.seconds[inside]))
    trace = Trace(tuple(found.curve.offsets.tolist()), tuple(found.curve.distances.tolist()))
    return Score(found.seconds, found.confidence, found.at_edge), trace


def trials_of(source: Source, rng: np.random.Generator) -> Clips:
    """Return the trials of each recording of a source, as `avssl build --calibrate` makes them."""
    shifts = np.arange(1, round(LATEST / STEP) + 1) * STEP
    clips = []
    for own, strange in zip(source.own, source.strange, strict=True):
        lates = [0.0, *(rng.permutation(shifts)[:SHIFTS] * rng.choice([-1, 1], SHIFTS)).tolist()]
        trials = [Trial(late, *estimate(own, late)) for late in lates]
        clips.append([*trials, Trial(AWAY, *estimate(strange, 0.0))])
    return clips


def verdict_of(source: Source, late: float, options: Sync) -> Verdict:
    """Return what is decided on a source whose sound is made ``late``."""
    spans = [Span(FRAMES * shot, FRAMES * (shot + 1)) for shot in range(len(source.own))]
    found = [estimate(own, late) for own in source.own]
    scores = {span: score for span, (score, _) in zip(spans, found, strict=True)}
    traces = {span: trace for span, (_, trace) in zip(spans, found, strict=True)}
    return decide(scores, FPS, options, traces)[spans[0]]


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of benchmarks/travel.py")
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--shots", type=int, default=8, help="recordings of a source")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    realign(parser.parse_args())


if __name__ == "__main__":
    main()
