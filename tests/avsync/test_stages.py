"""What each stage promises, on small made-up recordings of numbers."""

from __future__ import annotations

import io
import json
import os
import tarfile
import wave
from collections import Counter
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from folders import contents, rows

from avssl.avsync.builder import build
from avssl.avsync.clips import Span, check_clip, find_clips, with_sound
from avssl.avsync.decide import ONSET_CONFIDENCE, decide
from avssl.avsync.observe import LOUDNESS_RATE, Observed
from avssl.avsync.options import Cut, Normal, Options, Pack, Shots, Split, Sync
from avssl.avsync.reasons import Rejection
from avssl.avsync.score import OnsetScorer, RunScorer, Score, ScorerInput, make_scorer
from avssl.avsync.splits import split_of_unit, trials_of
from avssl.avsync.store import Store, key_of
from avssl.catalog.index import open_manifest
from avssl.media import VideoInfo, open_video
from avssl.sync.calibration import Calibration
from avssl.sync.network import Synchroniser
from avssl.sync.offset import Curve, Offset
from avssl.synthetic.clapper import write_clapper

FPS = Fraction(25)
INFO = VideoInfo(Path("x"), 6.0, 25.0, (64, 64))


def observed(frames: int, sound: tuple[float, float] | None = None, cuts: tuple[int, ...] = (0,)) -> Observed:
    """A recording with a keyframe every ten frames, in which something moves and sounds."""
    rng = np.random.default_rng(0)
    motion = rng.uniform(0.01, 0.02, frames).astype(np.float32)
    loudness = rng.uniform(0.1, 0.2, frames * LOUDNESS_RATE // 25).astype(np.float32)
    keyframes = np.unique(np.concatenate([np.arange(0, frames, 10), cuts]))
    return recording(motion, loudness, keyframes, np.array(cuts), sound or (0.0, frames / 25))


def recording(motion: np.ndarray, loudness: np.ndarray, *more: object) -> Observed:
    """Measurements of a recording of which all blocks move alike."""
    return Observed(motion, loudness, *more, motion, 0 * motion)


def test_clips_lie_within_shots_and_sound_and_begin_at_keyframes():
    cut = Cut(seconds=2.0)
    assert find_clips(observed(120), FPS, cut) == [(0, 50), (50, 100)]
    assert find_clips(observed(120), FPS, Cut(seconds=2.0, min_seconds=0.5)) == [(0, 50), (50, 100), (100, 120)]
    assert find_clips(observed(120), FPS, Cut(seconds=2.0, stride=1.0)) == [(0, 50), (30, 80), (60, 110)]
    assert find_clips(observed(120, cuts=(0, 33)), FPS, cut) == [(33, 83)]
    assert find_clips(observed(120, sound=(0.01, 4.0)), FPS, cut) == [(10, 60)]
    assert find_clips(observed(120, sound=(0.001, 4.0)), FPS, cut) == [(0, 50), (50, 100)]
    assert find_clips(observed(40), FPS, cut) == []


def test_a_shifted_clip_keeps_what_has_sound():
    recording = observed(100)
    cut = Cut(seconds=2.0, min_seconds=1.0)
    assert with_sound(recording, Span(0, 50), 0.0, FPS, cut) == (0, 50)
    assert with_sound(recording, Span(0, 50), -0.1, FPS, cut) == (10, 50)
    assert with_sound(recording, Span(50, 100), 0.2, FPS, cut) == (50, 95)
    assert with_sound(recording, Span(50, 100), -0.2, FPS, cut) == (50, 100)
    found = with_sound(recording, Span(50, 100), 1.2, FPS, cut)
    assert isinstance(found, Rejection)
    assert found.reason == "sound_missing"


def test_still_and_quiet_clips_are_not_worth_keeping():
    recording = observed(50)
    assert check_clip(recording, Span(0, 50), FPS, Cut()) is None
    recording.liveliest[5:] = 0
    assert check_clip(recording, Span(0, 50), FPS, Cut()).reason == "still"
    assert check_clip(recording, Span(0, 50), FPS, Cut(still=1.0)) is None
    recording.loudness[:] = 0.002
    assert check_clip(recording, Span(0, 50), FPS, Cut(still=1.0)).reason == "silent"
    assert check_clip(recording, Span(0, 50), FPS, Cut(still=1.0, quiet=-60)) is None


@pytest.mark.parametrize(
    ("mode", "score", "expected"),
    [
        ("score", Score(0.5, 0.0), None),
        ("drop", Score(0.03, 9.0), None),
        ("drop", Score(0.03, 1.0), "low_confidence"),
        ("drop", Score(-0.2, 9.0), "off_sync"),
        ("drop", Score(0.6, 9.0, True), "off_sync"),
    ],
)
def test_keep_or_drop(mode: str, score: Score, expected: str | None):
    verdict = decide({Span(0, 60): score}, FPS, Sync(mode=mode))[Span(0, 60)]
    assert (verdict.rejection.reason if verdict.rejection else None) == expected
    assert verdict.shift == 0


@pytest.fixture
def calibration(tmp_path: Path) -> Path:
    """A confidence of 5 or more is right 97 times of 100; it was measured on clips of 2 s."""
    path = tmp_path / "calibration.json"
    Calibration("me", 0.6, 2.0, (0.0, 5.0), (0.1, 0.97), 50, 200).save(path)
    return path


SURE, EARLY, UNSURE, EDGE = Score(0.21, 9.0), Score(-0.2, 9.0), Score(0.2, 4.0), Score(0.6, 9.0, True)


@pytest.mark.parametrize(
    ("scores", "frames", "expected"),
    [
        ([SURE, Score(0.2, 9.0), Score(0.19, 9.0)], 60, ("moved", 0.2)),
        ([SURE, Score(0.23, 9.0), UNSURE, UNSURE], 60, ("moved", 0.22)),  # half of them are sure, and agree
        ([SURE, UNSURE, UNSURE], 60, ("doubtful", 0)),
        ([SURE, SURE, EARLY], 60, ("disagree", 0)),
        ([Score(0.03, 9.0), Score(-0.01, 9.0)], 60, ("in_sync", 0)),
        ([EDGE, EDGE], 60, ("doubtful", 0)),  # it may lie beyond what was searched
        ([Score(0.58, 9.0)], 60, ("doubtful", 0)),  # within the tolerance of the edge
        ([SURE, SURE], 40, ("doubtful", 0)),  # shorter than what the probability was measured on
        ([Score(0.4, 99.0)], 60, ("moved", 0.4)),
    ],
)
def test_sound_is_moved_only_beyond_doubt(calibration: Path, scores: list[Score], frames: int, expected: tuple):
    options = Sync(mode="realign", calibration=calibration)
    spans = [Span(frames * number, frames * (number + 1)) for number in range(len(scores))]
    verdicts = decide(dict(zip(spans, scores, strict=True)), FPS, options)
    assert {verdict.decision for verdict in verdicts.values()} == {expected[0]}
    assert [verdict.shift for verdict in verdicts.values()] == pytest.approx([expected[1]] * len(scores))
    assert all(verdict.rejection is None for verdict in verdicts.values())  # what is doubtful is left, not dropped


def test_realigning_needs_a_calibration_of_the_same_estimator(calibration: Path, tmp_path: Path, machine):
    with pytest.raises(ValueError, match="--calibrate"):
        Sync(mode="realign")
    write_clapper(tmp_path / "in" / "a.mp4", frames=80)
    options = Options(sync=Sync(mode="realign", calibration=calibration))
    with pytest.raises(ValueError, match="measured for another estimator"):
        build([tmp_path / "in"], tmp_path / "out", options, machine)
    calibration.write_text("[]")
    with pytest.raises(ValueError, match="no calibration"):
        Calibration.load(calibration)


@pytest.mark.parametrize("late", [-0.4, -0.12, -0.04, 0.0, 0.04, 0.2, 0.4])
def test_the_onset_scorer_finds_offsets_and_knows_when_there_is_nothing_to_find(late: float):
    rng = np.random.default_rng(1)
    motion = rng.uniform(0, 0.01, 150)
    loudness = rng.uniform(0, 0.02, 1200)
    for frame in (20, 47, 60, 95, 121):
        motion[frame : frame + 4] += (0.1, 0.08, 0.05, 0.02)
        place = frame * 8 + round(late * LOUDNESS_RATE)
        loudness[place : place + 20] += np.linspace(0.5, 0, 20)
    made = recording(motion, loudness, np.zeros(1, int), np.zeros(1, int), (0.0, 6.0))
    scorer = OnsetScorer(0.6)
    found = scorer(ScorerInput(INFO, Span(10, 140), FPS, made))
    assert found.offset == pytest.approx(late, abs=0.0051)
    assert found.confidence > ONSET_CONFIDENCE
    silent = recording(motion, 0 * loudness, np.zeros(1, int), np.zeros(1, int), (0.0, 6.0))
    assert scorer(ScorerInput(INFO, Span(10, 140), FPS, silent)) == (0.0, 0.0, False)
    later = scorer(ScorerInput(INFO, Span(10, 140), FPS, made, late=0.1))
    assert later.offset == pytest.approx(late + 0.1, abs=0.0051)
    nothing = recording(motion, rng.uniform(0, 0.02, 1200), np.zeros(1, int), np.zeros(1, int), (0.0, 6.0))
    assert scorer(ScorerInput(INFO, Span(10, 140), FPS, nothing)).confidence < ONSET_CONFIDENCE


def test_a_run_is_asked_about_the_clip_and_its_confidence_has_no_default(tmp_path: Path, machine, monkeypatch):
    asked = []

    def find_offset(video: Path, network: Synchroniser, reach: float, region: object) -> Offset:
        with open_video(video, "pyav") as reader:
            asked.append((reader.info.num_frames, reader.info.duration, network, reach))
        if len(asked) == 1:
            raise ValueError("picture and sound share no window")
        grid = torch.tensor([-0.4, 0.0, 0.2])
        return Offset(0.2, 3.0, Curve(grid, grid, grid, grid))

    monkeypatch.setattr("avssl.sync.offset.find_offset", find_offset)
    network = Synchroniser(1, {}, 5, 0.04, 16000)
    monkeypatch.setattr("avssl.avsync.score._network", lambda run: network)
    write_clapper(tmp_path / "in" / "a.mp4", frames=80)
    options = Options(cut=Cut(seconds=1.0), sync=Sync(mode="drop", run=tmp_path, max_offset=0.4, min_confidence=1.0))
    scorer = RunScorer(tmp_path, 0.4, "hash")
    build([tmp_path / "in"], tmp_path / "out", options, machine, scorer=scorer)
    assert asked == [(25, pytest.approx(1.0), network, 0.4)] * 2
    clips = rows(tmp_path / "out" / "clips.parquet")
    assert [(clip["offset"], clip["confidence"]) for clip in clips] == [(0.0, 0.0), (0.2, 3.0)]
    assert [clip["reason"] for clip in clips] == ["low_confidence", "off_sync"]
    with pytest.raises(ValueError, match="min_confidence"):
        Sync(mode="drop", run=tmp_path)


def test_a_run_without_a_network_is_an_error(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        make_scorer(Sync(run=tmp_path))


def test_a_group_stays_in_one_split_and_shares_are_as_asked():
    options = Split(validation=0.1, test=0.2)
    counts = Counter(split_of_unit(f"group {number}", options) for number in range(4000))
    assert counts["test"] == pytest.approx(800, abs=90)
    assert counts["validation"] == pytest.approx(400, abs=70)
    larger = Split(validation=0.1, test=0.3)  # more in the test set never moves what was in it before
    tests = [name for name in map(str, range(300)) if split_of_unit(name, options) == "test"]
    assert all(split_of_unit(name, larger) == "test" for name in tests)


def test_trials_lie_within_the_clip_and_each_half_alone_gives_nothing_away():
    """The places of the sound are the same in and out of sync; those of the picture have the same distribution."""
    options = Split(crop=0.6, step=0.2, max_offset=0.4)
    pictures: dict[bool, list[float]] = {False: [], True: []}
    for number in range(3000):
        same, other = trials_of(f"clips/{number}.mp4", 30, FPS, options)
        assert same.offset == 0 != other.offset
        assert abs(other.offset) in (0.2, 0.4)
        for trial in (same, other):
            assert 0 <= trial.start <= 0.6 + 1e-9
            assert -1e-9 <= trial.start - trial.offset <= 0.6 + 1e-9
            assert trial.start * 25 == pytest.approx(round(trial.start * 25))
        assert same.start == pytest.approx(other.start - other.offset)
        pictures[False].append(same.start)
        pictures[True].append(other.start)
    places = np.linspace(0, 0.6, 16)
    in_sync, shifted = (np.histogram(pictures[key], np.append(places, 0.64) - 0.02)[0] / 3000 for key in (False, True))
    assert np.abs(in_sync - shifted).max() < 0.025
    assert trials_of("clips/1.mp4", 15, FPS, options) == []
    assert trials_of("clips/1.mp4", 30, FPS, options) == trials_of("clips/1.mp4", 30, FPS, options)


def test_a_record_counts_only_with_its_file_and_a_rejection_only_until_a_retry(tmp_path: Path):
    store = Store(tmp_path)
    calls = []

    def make() -> dict:
        calls.append(1)
        with store.growing("stage", "abc", ".bin") as partial:
            partial.write_bytes(b"12345")
        return {"value": 1}

    for _ in range(2):
        assert store.record("stage", "abc", make, ".bin") == {"value": 1, "bytes": 5}
    assert len(calls) == 1
    store.path("stage", "abc", ".bin").unlink()
    store.record("stage", "abc", make, ".bin")
    assert len(calls) == 2
    assert not list(tmp_path.rglob("*.partial"))
    rejection = Rejection("broken", "why")._asdict()
    store.record("other", "abc", lambda: rejection)
    assert store.find("other", "abc") == rejection
    assert Store(tmp_path, retry=True).find("other", "abc") is None
    with pytest.raises(FileNotFoundError), store.growing("stage", "def", ".bin") as partial:
        partial.with_suffix(".missing").read_bytes()
    assert sorted(path.name for path in (tmp_path / "stage").rglob("*") if path.is_file()) == ["abc.bin", "abc.json"]
    assert key_of(1, "a", {"b": 2}) == key_of(1, "a", {"b": 2}) != key_of(1, "a", {"b": 3})


def test_options_are_checked():
    for make in (
        lambda: Cut(seconds=0),
        lambda: Cut(seconds=1, min_seconds=2),
        lambda: Normal(short_side=8),
        lambda: Shots(threshold=-1),
        lambda: Sync(tolerance=0.7),
        lambda: Split(validation=0.7, test=0.7),
        lambda: Pack(clips_per_shard=0),
    ):
        with pytest.raises(ValueError, match="expected"):
            make()


def test_shots_are_not_crossed(tmp_path: Path, machine):
    first, second = (write_clapper(tmp_path / f"{seed}.mp4", frames=40, seed=seed, size=(64, 64)) for seed in (1, 2))
    joined = tmp_path / "in" / "joined.mkv"
    joined.parent.mkdir()
    _join([first, second], joined)
    build([joined], tmp_path / "out", Options(cut=Cut(seconds=1.0)), machine)
    clips = [(clip["start"], clip["stop"]) for clip in rows(tmp_path / "out" / "clips.parquet")]
    assert clips == [(0.0, 1.0), (1.6, 2.6)]
    build([joined], tmp_path / "out", Options(cut=Cut(seconds=1.0), shots=Shots(threshold=0)), machine)
    clips = [(clip["start"], clip["stop"]) for clip in rows(tmp_path / "out" / "clips.parquet")]
    assert clips[:2] == [(0.0, 1.0), (1.2, 2.2)]


def _join(paths: list[Path], target: Path) -> None:
    """One recording after the other, the second with its colours turned over."""
    with av.open(str(target), "w") as out:
        video = out.add_stream("libx264", rate=25, options={"crf": "10"})
        video.height = video.width = 64
        video.pix_fmt = "yuv420p"
        audio = out.add_stream("flac", rate=48000, layout="mono", format="s16")
        count = 0
        for turned, path in enumerate(paths):
            with open_video(path, "pyav") as reader:
                frames = reader.frames(torch.arange(40, dtype=torch.float64) / 25).permute(0, 2, 3, 1)
            for picture in frames.contiguous().numpy():
                frame = av.VideoFrame.from_ndarray(255 - picture if turned else picture, format="rgb24")
                frame.pts, frame.time_base = count, Fraction(1, 25)
                out.mux(video.encode(frame))
                count += 1
        out.mux(video.encode(None))
        noise = (np.random.default_rng(0).normal(0, 3000, (1, count * 1920))).astype(np.int16)
        for place in range(0, noise.shape[1], 4096):
            frame = av.AudioFrame.from_ndarray(noise[:, place : place + 4096].copy(), "s16", "mono")
            frame.sample_rate, frame.pts, frame.time_base = 48000, place, Fraction(1, 48000)
            out.mux(audio.encode(frame))
        out.mux(audio.encode(None))


@pytest.mark.parametrize("form", ["flac", "wav"])
def test_shards_hold_the_clips_their_sound_and_what_is_known(tmp_path: Path, machine, form: str):
    webdataset = pytest.importorskip("webdataset")
    for seed in range(3):
        write_clapper(tmp_path / "in" / f"{seed}" / f"{seed}.mp4", frames=60, seed=seed)
    options = Options(
        cut=Cut(seconds=1.0), split=Split(test=0, validation=0), pack=Pack("webdataset", form, clips_per_shard=4)
    )
    out = tmp_path / "out"
    build([tmp_path / "in"], out, options, machine)
    kept = [row for row in rows(out / "clips.parquet") if row["clip"]]
    assert len(kept) == 6
    shards = sorted((out / "shards").glob("*.tar"))
    assert [shard.name for shard in shards] == ["train-000000.tar", "train-000001.tar"]
    samples = list(webdataset.WebDataset([os.fspath(shard) for shard in shards], shardshuffle=False))
    assert [Path(row["clip"]).stem for row in sorted(kept, key=lambda row: row["clip"])] == sorted(
        sample["__key__"] for sample in samples
    )
    for sample in samples:
        note = json.loads(sample["json"])
        path = out / "clips" / sample["__key__"][:2] / f"{sample['__key__']}.mp4"
        assert sample["mp4"] == path.read_bytes()
        assert note["key"] == sample["__key__"]
        assert note["label"] in ("0", "1", "2")
        with open_video(path) as reader:
            sound = reader.audio(0, 1.0, 16000).samples
        assert torch.equal(_samples(sample[form], form), (sound * 2**15).short())
    facts = [json.loads(shard.with_suffix(".json").read_text()) for shard in shards]
    assert [fact["clips"] for fact in facts] == [4, 2]
    assert sum(sum(fact["labels"].values()) for fact in facts) == 6
    with tarfile.open(shards[0]) as tar:
        assert {(member.mtime, member.uid, member.uname) for member in tar} == {(0, 0, "")}
    before = contents(out), [shard.stat().st_mtime_ns for shard in shards]
    build([tmp_path / "in"], out, options, machine)
    assert (contents(out), [shard.stat().st_mtime_ns for shard in shards]) == before  # kept, not written again
    build([tmp_path / "in"], out, Options(cut=Cut(seconds=1.0)), machine)
    assert not (out / "shards").exists()


def _samples(content: bytes, form: str) -> torch.Tensor:
    if form == "wav":
        with wave.open(io.BytesIO(content)) as file:
            assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16000, 1, 2)
            return torch.frombuffer(bytearray(file.readframes(10**6)), dtype=torch.int16)
    with av.open(io.BytesIO(content)) as container:
        parts = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]
    return torch.from_numpy(np.concatenate(parts).astype(np.int16))


def test_manifests_fixed_offsets_and_card(tmp_path: Path, machine):
    for seed in range(12):
        write_clapper(tmp_path / "in" / f"speaker{seed % 6}" / f"{seed}.mp4", frames=30, seed=seed)
    options = Options(
        cut=Cut(seconds=1.0),
        split=Split(validation=0.3, test=0.4, crop=0.6, max_offset=0.4),
        normal=Normal(short_side=48),
    )
    out = tmp_path / "out"
    built = build([tmp_path / "in"], out, options, machine, labels="none", group=r"speaker\d")
    assert built.packed is not None
    everything = open_manifest(out)
    parts = {split: open_manifest(out / f"{split}.parquet") for split in ("train", "validation", "test")}
    assert len(everything) == sum(map(len, parts.values())) == 12
    groups = [{info.group for info in part} for part in parts.values()]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 6
    assert all(groups)
    for info in everything:
        assert (info.fps, info.size, info.num_frames, info.sync_grade) == (25.0, (48, 60), 25, "exact")
        assert info.audio is not None
        assert (info.audio.rate, info.audio.start, info.audio.duration) == (16000, 0.0, pytest.approx(1.0))
        assert info.motion is not None
        assert len(info.motion) == 8
        assert set(info.backends) == {"pyav", "torchcodec", "decord"}
    lines = (out / "fixed_offsets.csv").read_text().splitlines()
    assert lines[0] == "clip,start,offset"
    assert len(lines) - 1 == 2 * len(parts["test"]) == built.packed.trials
    assert {line.split(",")[0] for line in lines[1:]} == {
        path.relative_to(out).as_posix() for path in parts["test"].paths()
    }
    page = (out / "card.html").read_text()
    assert built.packed.digest in page
    assert page.count("<img") == 8 + 12
    moved = tmp_path / "moved"
    os.rename(out, moved)
    assert all(path.is_file() for path in open_manifest(moved).paths())
