"""Does realign mend what is out of sync, and leave alone what isn't? Networks and recordings of `benchmarks/travel.py`.

    python benchmarks/realigning.py travel --run travel/runs/whole_lips_far

Four recordings of a kind are joined to one source, whose shots share one offset. The sources of half of the test groups
calibrate: their sound as it is, shifted by known amounts, and of other recordings. Those of the other half are left in
sync, or shifted by 0.1 to 0.3 s, and go through the rules of ``--sync.mode=realign``.
"""

from __future__ import annotations

import argparse
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from travel import KINDS

from avssl.avsync.calibrating import picture as calibration_picture
from avssl.avsync.clips import Span
from avssl.avsync.decide import decide
from avssl.avsync.options import Sync
from avssl.avsync.score import Score
from avssl.evaluation.metrics import bootstrap
from avssl.evaluation.synchrony import Displaced
from avssl.media import open_video
from avssl.runtime.progress import Tally
from avssl.sync.calibration import Calibration, fit
from avssl.sync.network import Synchroniser
from avssl.sync.offset import Curve, curve, joined, load_synchroniser, offset_from, offset_grid

REACH, STEP, LATEST = 0.4, 0.02, 0.3  # seconds: searched, between offsets, and largest shift
SHOTS, FRAMES = 4, 29  # recordings of a source, and frames of each
Trial = tuple[str, Curve, Curve | None]  # group of a source, its curve, and that with the sound of another


def realign(args: argparse.Namespace) -> None:
    """Calibrate on half of the test groups, and move the sound of sources of the others, or leave it."""
    network, rng = load_synchroniser(args.run), np.random.default_rng(0)
    parts = sorted({path.name for kind in args.kinds for path in (args.out / kind / "test").iterdir()})
    order = rng.permutation(len(parts))
    wide, trials = offset_grid(REACH + LATEST, STEP), [[], []]
    with Tally("sources", len(args.kinds) * len(parts)) as tally:
        for half in range(2):
            names = [parts[place] for place in order[half::2]]
            for kind in args.kinds:
                paths = [path for name in names for path in sorted((args.out / kind / "test" / name).glob("*.mp4"))]
                for place in range(0, len(paths) - SHOTS + 1, SHOTS):
                    shots = paths[place : place + SHOTS]
                    others = [paths[(place + SHOTS + shot) % len(paths)] for shot in range(SHOTS)]
                    own = joined([measured(path, path, network, wide) for path in shots])
                    pairs = zip(shots, others, strict=True) if half == 0 else ()  # none is needed to evaluate
                    strange = [measured(*pair, network, wide) for pair in pairs]
                    trials[half].append((f"{half} {place}", own, joined(strange) if strange else None))
                    tally.add("measured")
    calibration = calibrated(trials[0], rng)
    calibration.save(args.out / "calibration.json")
    calibration_picture(calibration).savefig(args.out / "calibration.png", dpi=110)
    options = Sync("realign", max_offset=REACH, calibration=args.out / "calibration.json")
    span, moved, mended, sure = Span(0, SHOTS * FRAMES), [], [], 0
    for _, own, _ in trials[1]:
        verdict = decide({span: score(own, 0.0)}, Fraction(25), options)[span]
        moved.append(verdict.decision == "moved")
        sure += (verdict.probability or 0) >= options.certainty
        late = float(rng.choice([-1, 1]) * rng.integers(5, round(LATEST / STEP) + 1) * STEP)
        verdict = decide({span: score(own, late)}, Fraction(25), options)[span]
        mended.append(verdict.decision == "moved" and abs(verdict.shift - late) <= 0.04 + 1e-6)
    groups = [name for name, _, _ in trials[1]]
    print(
        f"{calibration.trials} trials on {calibration.recordings} groups calibrate: squared error of the probabilities"
        f" {calibration.brier:.3f} (one for all: {calibration.brier_of_mean:.3f}),"
        f" highest {calibration.probabilities[-1]:.3f}"
    )
    for name, values in (("in sync, moved", moved), ("shifted, mended to 40 ms", mended)):
        low, high = bootstrap(np.array(values, float)[None], groups, 0)
        print(f"{name}: {np.mean(values):.3f} ({low:.3f} to {high:.3f}) of {len(values)} sources")
    print(f"sure of {sure} sources in sync")


def measured(picture: Path, sound: Path, network: Synchroniser, grid: torch.Tensor) -> Curve:
    """Return the curve of the pictures of one recording with the sound of another."""
    with open_video(picture) as shown, open_video(sound) as heard:
        return curve(Displaced(shown, 0.0, heard), network, grid)


def score(own: Curve, late: float) -> Score:
    """Return the estimate for a source whose sound is made ``late``."""
    offsets = own.offsets + late
    inside = offsets.abs() <= REACH + 1e-6
    found = offset_from(Curve(offsets[inside], own.distances[inside], own.windows[inside]))
    return Score(found.seconds, found.confidence, found.at_edge)


def calibrated(trials: list[Trial], rng: np.random.Generator) -> Calibration:
    """Fit a calibration on sources with shifted sound, and with sound that isn't theirs."""
    rows = []
    for name, own, strange in trials:
        lates = [0.0, *(rng.permutation(np.arange(1, round(LATEST / STEP) + 1))[:3] * STEP * rng.choice([-1, 1], 3))]
        for late in lates:
            found = score(own, float(late))
            rows.append((name, found.confidence, abs(found.offset - late) <= 0.04 + 1e-6 and not found.edge))
        if strange is not None:
            rows.append((name, score(strange, 0.0).confidence, False))
    names, confidences, right = zip(*rows, strict=True)
    return fit(np.array(confidences), np.array(right), np.array(names), "travel", REACH, SHOTS * FRAMES / 25)


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of benchmarks/travel.py")
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    realign(parser.parse_args())


if __name__ == "__main__":
    main()
