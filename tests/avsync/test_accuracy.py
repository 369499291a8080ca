"""Sound and picture of what comes out lie within a millisecond of one another; offsets that were put in are found."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from flashclick import EXACT, RECIPES, Recipe, number, onsets, write
from folders import rows

from avssl.avsync.builder import build
from avssl.avsync.calibrating import calibrate
from avssl.avsync.clapper import clap_offsets
from avssl.avsync.executors import Execution
from avssl.avsync.options import Accept, Cut, Options, Shots, Sync
from avssl.avsync.recording import Job
from avssl.avsync.score import OnsetScorer
from avssl.avsync.source import process
from avssl.avsync.store import Store
from avssl.media import open_video
from avssl.runtime.files import digest_of
from avssl.synthetic.clapper import write_clapper

MATRIX = [
    recipe
    for recipe in RECIPES
    if recipe.audio and recipe.name.endswith(EXACT) and recipe.name != "fragmented.mp4" and recipe.frames > 1
]


CLIPS = Options(Accept(length_tolerance=6.0), shots=Shots(threshold=0), cut=Cut(seconds=0.6))


@pytest.mark.parametrize("recipe", MATRIX, ids=lambda recipe: recipe.name)
def test_every_click_is_heard_when_its_frame_is_due(tmp_path: Path, recipe: Recipe):
    source = write(recipe, tmp_path)
    outcome = process(Job(source, digest_of(source), tmp_path / "store", CLIPS, OnsetScorer(0.6)))
    assert "reason" not in outcome, outcome["why"]
    heard, early = [], []
    for clip in outcome["clips"]:
        start = clip["start"] / 25
        with open_video(Store(tmp_path / "store").path("clips", clip["key"], ".mp4")) as reader:
            info = reader.info
            times = torch.arange(info.num_frames, dtype=torch.float64) / info.fps
            shown = [number(frame) for frame in reader.frames(times)]
            sound = reader.audio(0, info.duration, 16000)
        assert sound.valid == pytest.approx((0, info.duration), abs=1.1e-3)
        if sound.samples.abs().max() > 0.1:
            heard += [np.abs(click + start - recipe.clicks).min() for click in onsets(sound.samples, 16000)]
        early += list(start + times.numpy() - recipe.times[shown])  # how much later than in the source it is shown
    assert len(heard) >= 2
    assert max(heard) <= 1e-3
    gap = max(recipe.gaps) / float(recipe.fps)  # how long a frame of the source may last
    if recipe.fps == 25 and len(recipe.gaps) == 1:
        assert np.abs(early).max() <= 1e-3  # the very frames of the source, where they were
    else:
        assert np.min(early) >= -0.0211  # never early by more than half a frame, and late by no more than it lasts
        assert np.max(early) <= 0.02 + gap


def test_injected_offsets_are_found_and_undone(claps: Path, tmp_path: Path, machine: Execution):
    cut = Cut(seconds=2.4, min_seconds=1.6)
    for seed in range(20, 40):  # as many recordings as a probability of 0.95 takes
        write_clapper(tmp_path / "known" / f"{seed}.mov", frames=150, codec="pcm_s16le", seed=seed)
    measured = calibrate([tmp_path / "known"], tmp_path / "calibration", Options(cut=cut), machine)
    assert measured.right > 0.9 > 10 * measured.chance
    assert measured.calibration.brier < measured.calibration.brier_of_mean
    sync = Sync(mode="realign", calibration=measured.path)
    build([claps], tmp_path / "out", Options(cut=cut, sync=sync), machine)
    clips = rows(tmp_path / "out" / "clips.parquet")
    assert len({clip["source"] for clip in clips if clip["clip"]}) == 7
    measured = 0
    for clip in clips:
        truth = int(clip["source"].split("late")[1].split(".")[0]) / 1000
        assert clip["offset"] == pytest.approx(truth, abs=0.0051)
        assert clip["shift"] == pytest.approx(0 if abs(truth) <= 0.04 else truth, abs=0.0051)
        assert clip["decision"] == ("in_sync" if abs(truth) <= 0.04 else "moved")
        assert clip["probability"] >= 0.95
        if clip["clip"]:
            left = clap_offsets(tmp_path / "out" / clip["clip"])
            measured += len(left)
            assert left == pytest.approx(truth - clip["shift"], abs=1e-3)
    assert measured >= 21


def test_drop_leaves_out_what_is_off_and_score_keeps_it(claps: Path, tmp_path: Path, machine: Execution):
    cut = Cut(seconds=3.0)
    build([claps], tmp_path / "out", Options(cut=cut, sync=Sync(mode="drop")), machine)
    clips = rows(tmp_path / "out" / "clips.parquet")
    assert {clip["source"].split("late")[1] for clip in clips if clip["clip"]} == {"-40.mov", "+0.mov", "+40.mov"}
    assert {clip["reason"] for clip in clips if not clip["clip"]} == {"off_sync"}
    again = build([claps], tmp_path / "out", Options(cut=cut), machine)
    assert again.outcomes == {"kept": 7}
    assert set(again.made) == {"clips"}  # what was encoded, observed and scored before is used again


def test_a_rate_that_is_not_the_sources_shifts_events_neither_way(tmp_path: Path, machine: Execution):
    """At 30, 50 and 15 frames a second sources' events lie, on average, where they were."""
    for fps in (15, 30, 50):
        write_clapper(tmp_path / "in" / f"{fps}.mp4", frames=6 * fps, fps=Fraction(fps), seed=fps)
    build([tmp_path / "in"], tmp_path / "out", Options(cut=Cut(seconds=5.0)), machine)
    late = [clap_offsets(tmp_path / "out" / clip["clip"]) for clip in rows(tmp_path / "out" / "clips.parquet")]
    assert len(late) == 3
    assert np.abs(np.concatenate(late)).max() <= 0.0211
    assert abs(np.concatenate(late).mean()) <= 0.008
