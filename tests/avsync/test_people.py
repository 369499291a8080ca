"""Who speaks is the face that moves with the sound; faces that aren't fit, silence and other voices have reasons."""

from __future__ import annotations

import signal
import sys
import time
from fractions import Fraction
from pathlib import Path

import cv2
import forked
import numpy as np
import pytest
import torch
from av.video.frame import VideoFrame
from folders import contents, rows
from torch import Tensor

from avssl.avsync.builder import build
from avssl.avsync.cropping import TrackReader
from avssl.avsync.faces import Detector
from avssl.avsync.framing import Framing, placements, warp
from avssl.avsync.looks import blur_of, colours_of
from avssl.avsync.options import Crops, Cut, Faces, Options, Shots, Speech, Split, Sync
from avssl.avsync.people import Heard, Seen, Voice, unfit, unheard, who_speaks
from avssl.avsync.reasons import Rejection
from avssl.avsync.score import Score, make_scorer
from avssl.avsync.speech import share_of_speech, speech_of
from avssl.avsync.tracks import Track, link
from avssl.catalog.encode import Movie, pieces, write_movie
from avssl.catalog.index import open_manifest
from avssl.encoders import VGG, EarlyFusion, save_encoder
from avssl.media import open_video, probe
from avssl.media.regions import Part, noted_region
from avssl.sync.network import Synchroniser, TwoStream

FPS, RATE, FRAMES = Fraction(25), 16000, 32
MOUTH = Part("mouth", 0.3)


def heard(*confidences: float) -> list[Heard]:
    return [Heard(number, Score(0.0, confidence)) for number, confidence in enumerate(confidences)]


@pytest.mark.parametrize(
    ("confidences", "speaking", "expected"),
    [
        ((2.0, 5.0, 1.0), None, ("on_screen", 1, 0.6)),
        ((4.8, 5.0), None, ("undecided", None, 0.04)),
        ((4.8, 5.0), 6.0, ("off_screen", None, 0.04)),
        ((5.0,), None, ("on_screen", 0, None)),
        ((5.0,), 6.0, ("off_screen", None, None)),
        ((0.0, 0.0), None, ("undecided", None, None)),  # a clip too short to be scored
    ],
)
def test_who_speaks_is_the_surest_by_a_margin(confidences: tuple[float, ...], speaking: float | None, expected):
    voice = who_speaks(heard(*confidences), Faces(speaking=speaking), None)
    assert (voice.where, voice.speaker) == expected[:2]
    assert voice.margin == (None if expected[2] is None else pytest.approx(expected[2]))


def test_without_a_threshold_the_calibration_says_who_is_off_screen():
    found = heard(3.0)
    assert who_speaks(found, Faces(), lambda confidence: 0.4).where == "off_screen"
    assert who_speaks(found, Faces(), lambda confidence: 0.6).where == "on_screen"
    assert who_speaks(found, Faces(speaking=2.0), lambda confidence: 0.4).where == "on_screen"


def test_a_speaker_who_is_not_fit_is_a_fault_and_a_listener_is_none():
    turned = Rejection("face_turned", "by 60 degrees")
    seen = [Seen(0, 90, 5, 0.4, None), Seen(1, 80, 60, 0.4, turned)]
    assert unheard(Voice("on_screen", 1), seen, Faces()) == turned
    assert unheard(Voice("on_screen", 0), seen, Faces()) is None
    assert unheard(Voice("off_screen"), seen, Faces()).reason == "off_screen"
    assert unheard(Voice("undecided"), seen, Faces()).reason == "several_faces"
    assert unfit(seen, Faces(), tracked=False).reason == "several_faces"
    assert unfit(seen, Faces(), tracked=True) is None
    assert unfit(seen[1:], Faces(), tracked=True) == turned
    assert unfit([], Faces(), tracked=True).reason == "no_face"


def head(angle: float, tilt: float = 0.0) -> Track:
    """A head of a simple shape, turned and tilted by degrees, in weak perspective."""
    points = np.array([(-1, 0, 0), (1, 0, 0), (0, 0.8, 1), (-0.7, 1.7, 0.1), (0.7, 1.7, 0.1)])
    a, b = np.radians([angle, tilt])
    x = np.cos(a) * points[:, 0] + np.sin(a) * points[:, 2]
    flat = np.stack([np.cos(b) * x - np.sin(b) * points[:, 1], np.sin(b) * x + np.cos(b) * points[:, 1]], 1)
    shown = np.repeat(40 * flat[None] + 100, 6, axis=0)
    return Track(0, np.tile([40.0, 60.0, 120.0, 140.0], (6, 1)), shown, np.ones(6), np.zeros(6))


@pytest.mark.parametrize("angle", [-60, -20, 0, 35, 60])
def test_the_angle_of_a_head_is_known_however_it_is_tilted(angle: float):
    for tilt in (0, 25, -70):
        assert head(angle, tilt).turned() == pytest.approx([angle] * 6, abs=1e-6)


@pytest.mark.parametrize("part", ["face", "mouth", "person"])
def test_an_aligned_crop_is_upright_and_as_large_as_another(part: str):
    """The eyes of a tilted head lie level, with the mouth below them."""
    track = head(0, 30)
    plain, upright = (placements(track, part, 0.2, 0.0, aligned, 100)[0] for aligned in (False, True))
    points = np.column_stack([track.points[0], np.ones(5)]) @ upright.T
    assert points[0, 1] == pytest.approx(points[1, 1])
    assert points[0, 0] < points[1, 0]
    assert points[3:, 1].min() > points[0, 1]
    assert np.linalg.det(upright[:, :2]) == pytest.approx(np.linalg.det(plain[:, :2]))


def test_a_warp_is_where_it_belongs_at_any_scale():
    frame = np.zeros((400, 600, 3), np.uint8)
    frame[120:140, 300:320] = 255
    for scale in (2.0, 0.6, 0.3, 0.1):
        size = round(200 * scale)
        place = np.array([[scale, 0, -220 * scale], [0, scale, -40 * scale]])
        shown = warp(frame, place, size)[..., 0].astype(float)
        y, x = (float((shown.sum(1 - axis) * np.arange(size)).sum() / shown.sum()) for axis in (0, 1))
        middles = (y + 0.5) / scale, (x + 0.5) / scale
        assert middles == (pytest.approx(90, abs=1.2), pytest.approx(90, abs=1.2))
        assert shown.sum() / 255 / scale**2 == pytest.approx(400, rel=0.15)  # averaged, not skipped


def test_blur_is_measured_whatever_the_contrast_and_size():
    rng = np.random.default_rng(0)
    texture = cv2.GaussianBlur(rng.integers(0, 256, (128, 128, 3)).astype(np.uint8), (0, 0), 1.0)
    sharp, blurred = blur_of(texture), blur_of(cv2.GaussianBlur(texture, (0, 0), 5.0))
    streaked = blur_of(cv2.blur(texture, (15, 1)))
    assert sharp + 0.2 < min(blurred, streaked)
    assert blur_of((texture // 3) + 90) == pytest.approx(sharp, abs=0.02)
    assert blur_of(texture[:4, :4]) == 1
    assert colours_of(texture) @ colours_of(texture) == pytest.approx(1)
    assert colours_of(texture) @ colours_of(255 - texture // 2) < 0.9


def test_a_face_that_has_moved_while_it_was_hidden_is_known_by_its_colours():
    def face(x: float, looks: int) -> np.ndarray:
        return np.concatenate([[x, 50, 40, 40], np.arange(10) + x, [0.9, 0.4], np.eye(64)[looks]])

    for looks, tracks in ((3, 1), (9, 2)):
        found = [face(100, 3)[None] if n < 20 else face(135, looks)[None] for n in range(40)]
        found[20:24] = [np.zeros((0, 80))] * 4
        assert len(link(found, [0], gap=6, shortest=5)) == tracks


class Nodding(Synchroniser):
    """Compares how bright the pictures are with how loud the sound is."""

    def __init__(self) -> None:
        super().__init__(1, {}, 10, 0.04, RATE)
        self.card = {"size": (32, 32), "mean": [0.0] * 3, "std": [1.0] * 3, "region": list(MOUTH)}
        self.nothing = torch.nn.Parameter(torch.zeros(1))

    def distances(self, clips: Tensor, sounds: Tensor, which: Tensor) -> Tensor:
        """See `Synchroniser`."""
        seen = clips.mean((2, 3, 4))  # [P, T]
        rms = sounds.unflatten(1, (10, -1)).square().mean(2).sqrt()  # [Q, T]
        one, two = (torch.nn.functional.normalize(part - part.mean(1, keepdim=True), dim=1) for part in (seen, rms))
        return 1 - (one[:, None] * two[which]).sum(2)


def envelope(seed: int) -> np.ndarray:
    """How loud each frame is."""
    return np.repeat(np.random.default_rng(seed).uniform(0.1, 1.0, FRAMES // 2 + 1), 2)[:FRAMES]


def film(path: Path, pictures: np.ndarray, loud: np.ndarray) -> None:
    """Write ``[T, H, W, 3]`` pictures and noise that is as loud as this in each frame."""
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, FRAMES * RATE // 25) * np.repeat(loud, RATE // 25)
    frames = []
    for number, picture in enumerate(pictures):
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24").reformat(format="yuv420p")
        frame.pts, frame.time_base = number, 1 / FPS
        frames.append(frame)
    path.parent.mkdir(exist_ok=True)
    sound = pieces(torch.from_numpy(noise).float(), RATE)
    write_movie(path, iter(frames), sound, Movie(FPS, pictures.shape[1:3], 10, RATE), {"crf": "12"})


def nodding(face: np.ndarray, seed: int) -> np.ndarray:
    """``[T, H, W, 3]`` a still face that is brighter where a sound is louder."""
    gain = 0.6 + 0.4 * envelope(seed)
    return (face[None] * gain[:, None, None, None]).astype(np.uint8)


@pytest.fixture(scope="module")
def faces(shared_data: Path) -> list[np.ndarray]:
    """Two real faces, ``[144, 144, 3]``."""
    found = []
    for clip in sorted((shared_data / "talking_faces" / "clips").iterdir())[:200:199]:
        with open_video(clip) as reader:
            found.append(reader.frames(torch.zeros(1), (144, 144))[0].movedim(0, 2).numpy().copy())
    return found


@pytest.fixture
def people(faces: list[np.ndarray], tmp_path: Path) -> Path:
    """Recordings of people."""
    root = tmp_path / "people"
    one, two = faces
    film(root / "two.mp4", np.concatenate([nodding(one, 5), nodding(two, 6)], axis=2), envelope(6))
    film(root / "alone.mp4", nodding(one, 7), envelope(7))
    film(root / "voice_over.mp4", nodding(two, 8), envelope(9))
    film(root / "both.mp4", np.concatenate([nodding(one, 10), nodding(two, 10)], axis=2), envelope(10))
    film(root / "blurred.mp4", nodding(cv2.GaussianBlur(two, (0, 0), 4.0), 12), envelope(12))
    small = nodding(cv2.resize(one, (48, 48), interpolation=cv2.INTER_AREA), 13)
    film(root / "small.mp4", np.pad(small, ((0, 0), (48, 48), (48, 48), (0, 0))), envelope(13))
    film(root / "nobody.mp4", nodding(np.random.default_rng(2).integers(0, 255, (64, 64, 3)), 14), envelope(14))
    return root


CUT, SHOTS, SPLIT = Cut(seconds=1.2), Shots(threshold=0.0), Split(validation=0.0, test=0.0)  # as a command reads them


def test_speakers_are_found_and_sources_have_reasons(people: Path, shared_data: Path, tmp_path, machine, monkeypatch):
    monkeypatch.setattr("avssl.avsync.score._network", lambda run: Nodding())
    model = shared_data / "models" / "yunet_n_640_640.onnx"
    sync = Sync(run=tmp_path, max_offset=0.4)
    crops = Crops("mouth", margin=0.3, size=64)

    def options(mode: str) -> Options:
        asked = Faces(model, mode=mode, speaking=0.5)
        return Options(shots=SHOTS, cut=CUT, faces=asked, sync=sync, crops=crops, split=SPLIT)

    out = tmp_path / "out"
    build([people], out, options("drop"), machine)
    sources = {row["source"].removeprefix("people/"): row["reason"] for row in rows(out / "sources.parquet")}
    assert sources == {
        "two.mp4": None,
        "alone.mp4": None,
        "voice_over.mp4": "off_screen",
        "both.mp4": "several_faces",
        "blurred.mp4": "blurred",
        "small.mp4": "face_too_small",
        "nobody.mp4": "no_face",
    }
    clips = {row["source"].removeprefix("people/"): row for row in rows(out / "clips.parquet")}
    table = [row for row in rows(out / "faces.parquet") if row["source"].endswith("two.mp4")]
    left, right = sorted(table, key=lambda row: row["track"])
    assert (left["speaks"], right["speaks"]) == (False, True)
    assert right["confidence"] > 1.5 * left["confidence"]
    assert (clips["two.mp4"]["voice"], clips["two.mp4"]["speaker_track"]) == ("on_screen", right["track"])
    assert clips["two.mp4"]["offset"] == right["offset"] == pytest.approx(0, abs=1e-6)
    assert clips["voice_over.mp4"]["voice"] == "off_screen"
    assert clips["both.mp4"]["voice"] == "undecided"
    crop = open_manifest(out / "crops")
    assert {str(path.relative_to(out)) for path in crop.paths()} == {
        row["crop"] for row in rows(out / "faces.parquet")
    } - {None}
    assert len(crop) == 2  # of the two speakers, not of the listener
    for info in crop:
        assert (info.size, info.num_frames, info.fps, info.audio.rate) == ((64, 64), 30, 25, RATE)
    assert noted_region(out / "crops") == MOUTH
    scorer = make_scorer(sync, crops, tracked=True)
    assert scorer.framing == Framing("mouth", 0.3, 0.08, False, 64)
    card = (out / "card.html").read_text()
    assert "Surest tracks" in card
    assert "--faces.speaking" in card
    assert "--faces.blurred" in card

    first = contents(out)
    scored = build([people], out, options("score"), machine)
    assert scored.outcomes == {"kept": 7}
    clips = {row["source"].removeprefix("people/"): row for row in rows(out / "clips.parquet")}
    assert {name: clips[name]["people_fault"] for name in sources} == sources  # the same, if nothing is dropped
    assert len(open_manifest(out / "crops")) == 8
    build([people], out, options("drop"), machine)
    assert contents(out) == first
    with pytest.raises(ValueError, match=r"faces are found by --faces\.model"):
        build([people], out, Options(cut=CUT, sync=sync), machine)


def test_a_crop_is_read_as_it_is_written(faces, shared_data: Path, tmp_path: Path):
    film(tmp_path / "a.mp4", nodding(faces[0], 3), envelope(3))
    info = probe(tmp_path / "a.mp4")
    found = Detector(shared_data / "models" / "yunet_n_640_640.onnx")(faces[0])
    (track,) = link([found] * FRAMES, [0], 5, 5)
    with open_video(info.path) as reader:
        shown = TrackReader(reader, track, Framing("face", 0.2, 0.08, False, 64))
        frames = shown.frames(torch.tensor([0.0, 0.5, 0.02]))
        assert torch.equal(frames[0], frames[2])  # of the same frame
        assert frames.shape == (3, 3, 64, 64)
        assert shown.frames(torch.tensor([0.5]), (32, 32)).shape == (1, 3, 32, 32)
        assert torch.equal(shown.audio(0.2, 0.4, RATE).samples, reader.audio(0.2, 0.4, RATE).samples)
        with pytest.raises(ValueError, match="times"):
            shown.frames(torch.tensor([99.0]))


def test_speech_is_told_from_noise_and_silence(shared_data: Path, faces, tmp_path: Path, machine):
    pytest.importorskip("silero_vad")
    clip = sorted((shared_data / "talking_faces" / "clips").iterdir())[0]
    spoken = probe(clip)
    threads = torch.get_num_threads()
    speech = speech_of(spoken)
    assert torch.get_num_threads() == threads
    assert len(speech) == -(-spoken.duration // 0.032)
    assert share_of_speech(speech, 0, spoken.duration, 0.5) > 0.4
    film(tmp_path / "in" / "noise.mp4", nodding(faces[0], 3), envelope(3))
    assert share_of_speech(speech_of(probe(tmp_path / "in" / "noise.mp4")), 0, 1, 0.5) < 0.1
    assert share_of_speech(np.array([1, 1, 0, 0, 0.0]), 0.032, 0.096, 0.5) == 0.5
    (tmp_path / "in" / "speech.mp4").symlink_to(clip)
    for mode, outcomes in (("drop", {"kept": 1, "no_speech": 1}), ("score", {"kept": 2})):
        options = Options(shots=SHOTS, cut=Cut(seconds=0.8), speech=Speech(mode), split=SPLIT)
        options = Options(**{**vars(options), "accept": type(options.accept)(length_tolerance=2)})
        assert build([tmp_path / "in"], tmp_path / "out", options, machine).outcomes == outcomes
        clips = {row["source"]: row for row in rows(tmp_path / "out" / "clips.parquet")}
        assert clips["in/speech.mp4"]["offset"] is not None
        assert clips["in/noise.mp4"]["offset"] is None  # silence is never scored
        assert clips["in/noise.mp4"]["speech"] < 0.1 < clips["in/speech.mp4"]["speech"]


def test_speech_without_its_network_is_a_clear_error(tmp_path: Path, machine, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.mp4").write_bytes(b"")
    with pytest.raises(ValueError, match=r"silero-vad isn't installed: `pip install 'avssl\[faces\]'`"):
        build([tmp_path / "in"], tmp_path / "out", Options(shots=SHOTS, speech=Speech("score")), machine)


@pytest.mark.timeout(600)
def test_people_are_the_same_with_two_workers_and_after_a_kill(
    people: Path, shared_data: Path, tmp_path: Path, machine
):
    network = TwoStream(EarlyFusion(8, depth=10), VGG(8), 8, 8, (1, 4), 5, 0.04)
    card = {"mean": [0.5] * 3, "std": [0.2] * 3, "size": (32, 32), "region": list(MOUTH)}
    save_encoder(network, tmp_path / "run" / "sync", card)
    model = shared_data / "models" / "yunet_n_640_640.onnx"
    for name in ("alone", "blurred", "small", "both", "nobody"):
        (people / f"{name}.mp4").unlink()
    words = [f"--faces.model={model}", f"--sync.run={tmp_path / 'run'}", "--crops.part=face", "--cut.seconds=1.2"]
    words += ["--shots.threshold=0", "--split.test=0", "--split.validation=0"]
    options = Options(
        shots=SHOTS, cut=CUT, faces=Faces(model), sync=Sync(run=tmp_path / "run"), crops=Crops("face"), split=SPLIT
    )
    build([people], tmp_path / "one" / "out", options, machine)
    expected = contents(tmp_path / "one" / "out")
    assert any(name.startswith("crops/") and name.endswith(".mp4") for name in expected)
    out = tmp_path / "killed" / "out"
    tool = Path(__file__).parents[2] / "tools" / "build_avsync.py"
    command = [sys.executable, str(tool), str(people), "-o", str(out), "--workers=2", *words]
    process = forked.start(command)
    while not list((out / ".work" / "crops").rglob("*.json")):
        time.sleep(0.02)
        assert process.poll() is None, process.stderr
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "dataset.json").exists()
    forked.run(command, check=True)
    assert contents(out) == expected
