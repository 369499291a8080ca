"""A confidence means a probability that comes true; recordings count, not trials; clips may be sure together."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from avssl.avsync.clips import Span
from avssl.avsync.decide import decide
from avssl.avsync.options import Sync
from avssl.avsync.score import Score
from avssl.avsync.together import NOTHING, Trace, together
from avssl.avsync.trials import Trial, calibrated
from avssl.sync.calibration import Calibration, fit

FPS, REACH = Fraction(25), 0.4
GRID = np.arange(-20, 21) * 0.02


def recordings(count: int, rng: np.random.Generator, trials: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return confidences, whether they are right, groups: a recording is right as often as it is sure."""
    sure = rng.uniform(0, 1, count)
    confidences = (sure[:, None] + 0.02 * rng.standard_normal((count, trials))).ravel()
    return confidences, np.repeat(rng.uniform(size=count) < sure, trials), np.repeat(np.arange(count), trials)


def test_trials_of_a_recording_do_not_count_as_recordings():
    confidences, right, groups = recordings(30, np.random.default_rng(0))
    once = fit(confidences, right, groups, "me", REACH, 1.0)
    thrice = fit(*(np.repeat(column, 3) for column in (confidences, right, groups)), "me", REACH, 1.0)
    assert thrice.confidences == pytest.approx(once.confidences)
    assert thrice.probabilities == pytest.approx(once.probabilities)
    assert thrice.brier == pytest.approx(once.brier)
    assert len(once.lower) == len(once.probabilities)
    assert np.mean(np.array(once.lower) < once.probabilities) > 0.8


def test_the_highest_probabilities_come_true():
    rng, claimed = np.random.default_rng(1), {True: [], False: []}
    for _ in range(12):
        confidences, right, groups = recordings(60, rng)
        new = recordings(400, rng)
        for whole in claimed:  # recordings whole, or each trial as a recording of its own
            found = fit(confidences, right, groups if whole else np.arange(len(right)), "me", REACH, 1.0)
            said = np.array([found.probability(value) for value in new[0]])
            top = said >= np.quantile(said, 0.9)
            claimed[whole].append((said[top] - new[1][top]).mean())
    assert abs(np.mean(claimed[True])) < 0.03
    assert np.mean(claimed[False]) > np.mean(claimed[True]) + 0.02


def trace(late: float, rng: np.random.Generator, noise: float = 0.2) -> tuple[Score, Trace]:
    """Return the estimate of a clip that is late, from a curve with noise."""
    distances = 1 - 0.5 * np.exp(-(((GRID - late) / 0.03) ** 2)) + noise * rng.standard_normal(len(GRID))
    order = np.sort(distances)
    best = float(GRID[distances.argmin()])
    confidence = float(order[len(order) // 2] - order[0])
    return Score(best, confidence, abs(best) > REACH - 1e-6), Trace(tuple(GRID.tolist()), tuple(distances.tolist()))


def made(count: int, clips: int, rng: np.random.Generator) -> list[tuple[str, list[list[Trial]]]]:
    lates = [[0.0, *(0.02 * rng.integers(-15, 16, 2)), 3.0] for _ in range(count * clips)]
    tried = [[Trial(float(late), *trace(float(late), rng)) for late in some] for some in lates]
    return [(f"{number}", tried[number * clips : (number + 1) * clips]) for number in range(count)]


def test_clips_find_together_what_each_hardly_finds():
    rng = np.random.default_rng(2)
    lates = [0.1, 0.2, -0.06, 0.1]
    traces = [trace(late + 0.04, rng)[1] for late in lates]
    assert together(traces, lates, REACH).offset == pytest.approx(0.04, abs=0.021)
    with pytest.raises(ValueError, match="no curve"):
        together([])
    found = calibrated(made(40, 4, rng), "me", REACH, 1.0)
    assert found.together is not None
    assert (found.together.clips, found.clips) == (4, 1)
    assert found.together.brier < 0.7 * found.brier
    assert found.together.probabilities[-1] > 0.95
    alone = calibrated([(name, clips[:1]) for name, clips in made(12, 2, rng)], "me", REACH, 1.0)
    assert alone.together is None
    bare = [
        (name, [[one._replace(trace=NOTHING) for one in clip] for clip in clips]) for name, clips in made(12, 4, rng)
    ]
    assert calibrated(bare, "me", REACH, 1.0).together is None


def test_a_source_is_moved_if_its_clips_are_sure_together_and_agree(tmp_path: Path):
    path, rng = tmp_path / "calibration.json", np.random.default_rng(3)
    found = calibrated(made(40, 4, rng), "me", REACH, 1.0)
    assert found.together is not None
    found.save(path)
    again = Calibration.load(path)
    assert again == found
    options = Sync("realign", max_offset=REACH, calibration=path)
    spans = [Span(30 * number, 30 * (number + 1)) for number in range(4)]

    def decided(lates: list[float], count: int = 4, curves: bool = True) -> set[str]:
        pairs = [trace(late, np.random.default_rng(number)) for number, late in enumerate(lates[:count])]
        scores = {span: one._replace(confidence=0.0) for span, (one, _) in zip(spans, pairs, strict=False)}  # unsure
        traces = {span: pair[1] for span, pair in zip(spans, pairs, strict=False)}
        verdicts = decide(scores, FPS, options, traces if curves else None)
        assert all(
            abs(verdict.shift - late) <= 0.04
            for verdict, late in zip(verdicts.values(), lates, strict=False)
            if verdict.decision == "moved"
        )
        return {verdict.decision for verdict in verdicts.values()}

    assert decided([0.2] * 4) == {"moved"}
    assert decided([0.0] * 4) == {"in_sync"}
    assert decided([0.2] * 4, 2) == {"doubtful"}  # fewer clips than were measured
    assert decided([0.2] * 4, curves=False) == {"doubtful"}
    assert decided([-0.3, -0.1, 0.1, 0.3]) == {"doubtful"}
    options = replace(options, certainty=0.999)
    assert decided([0.2] * 4) == {"doubtful"}


def test_files_of_before_are_read(tmp_path: Path):
    path = tmp_path / "calibration.json"
    fit(*recordings(20, np.random.default_rng(4)), "me", REACH, 1.0).save(path)
    values = json.loads(path.read_text())
    for name in ("lower", "clips", "together"):
        del values[name]
    path.write_text(json.dumps(values))
    found = Calibration.load(path)
    assert (found.lower, found.clips, found.together) == ((), 1, None)
