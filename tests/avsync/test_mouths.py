"""The mouth of a track is a recording of its own: cut where the face is, with its own sound in its place."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from av.video.frame import VideoFrame

from avssl.avsync.cropping import TrackReader
from avssl.avsync.framing import framing_for
from avssl.avsync.mouths import find_offset_of_faces, write_part
from avssl.avsync.tracks import Track
from avssl.catalog.encode import Movie, pieces, write_movie
from avssl.media import open_video, probe
from avssl.media.regions import WHOLE, Part, left_to_crop, note_region, noted_region
from avssl.sync.network import Synchroniser
from avssl.sync.offset import find_offset

FIRST = 10  # frame in which the track begins
PART = Part("mouth", 0.5)


@pytest.fixture
def moving(tmp_path):
    """Write a light square that goes to the right in steps of 2, and clicks at 0.6 s; return it and its track."""
    path, count = tmp_path / "moving.mp4", 50

    def pictures():
        for number in range(count):
            canvas = np.full((120, 200, 3), 40, np.uint8)
            left = 20 + 2 * number
            canvas[60:80, left : left + 20] = 200
            frame = VideoFrame.from_ndarray(canvas, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            yield frame

    sound = torch.zeros(2 * 16000)
    sound[9600] = 0.9
    write_movie(path, pictures(), pieces(sound, 16000), Movie(Fraction(25), (120, 200), 12, 16000), {"crf": "10"})
    middle = np.array([[30 + 2 * (FIRST + number), 70] for number in range(30)], float)
    across = np.array([[-10, -25], [10, -25], [0, -10], [-8, 0], [8, 0]], float)
    boxes = np.column_stack([middle - (20, 40), np.full((30, 2), 40.0)])
    return probe(path), Track(FIRST, boxes, middle[:, None] + across, np.ones(30), np.zeros(30))


def test_the_square_stays_in_the_middle_and_sound_in_its_place(moving, tmp_path):
    info, track = moving
    with open_video(info.path) as reader:
        shown = TrackReader(reader, track, framing_for(PART, 40))
        assert shown.info.duration == pytest.approx(1.2)
        assert shown.info.size == (40, 40)
        frames = shown.frames(torch.arange(5, 25) / 25.0 + 0.01, (20, 20)).float().mean(1)  # [T, 20, 20]
        light = frames > 120
        rows, columns = torch.meshgrid(torch.arange(20.0), torch.arange(20.0), indexing="ij")
        for axis in (rows, columns):  # of a square of 20 in 40 pixels, at half the scale
            middles = torch.stack([axis[one].mean() for one in light])
            assert (middles - 9.5).abs().max() < 1
        heard = shown.audio(0.0, 1.0, 16000).samples
        assert heard.argmax().item() == 9600 - FIRST * 640
    write_part(info, track, PART, tmp_path / "mouth.mp4", 32)
    copy = probe(tmp_path / "mouth.mp4")
    assert (copy.num_frames, copy.size, copy.fps) == (30, (32, 32), 25)
    with open_video(copy.path) as reader:
        assert reader.audio(0.0, 1.0, 16000).samples.argmax().item() == 9600 - FIRST * 640
        assert reader.frames(torch.tensor([0.5], dtype=torch.float64))[0, :, 16, 16].float().mean() > 150


def test_a_run_that_learnt_mouths_is_shown_mouths(tmp_path):
    note_region(tmp_path, PART)
    assert noted_region(tmp_path / "a") == PART
    assert left_to_crop(PART, PART) == WHOLE
    assert left_to_crop(Part("mouth", 0.0), PART) == (0.25, 0.25, 0.75, 0.75)
    with pytest.raises(ValueError, match="whole pictures, and not the mouth of a tracked face"):
        left_to_crop(PART, WHOLE)
    with pytest.raises(ValueError, match="lies outside"):
        left_to_crop(PART, Part("mouth", 0.1))
    with pytest.raises(ValueError, match="not the mouth"):
        left_to_crop(PART, Part("face", 0.5))
    assert framing_for(Part("mouth, upright", 0.5), 40).shown() == Part("mouth, upright", 0.5)
    with pytest.raises(ValueError, match="'ear' is no part of a face"):
        framing_for(Part("ear", 0.5), 40)


class Still(Synchroniser):
    """Prefers quiet sounds, whatever it sees."""

    def __init__(self, region):
        super().__init__(1, {}, num_frames=5, step=0.04, rate=16000)
        self.nothing = torch.nn.Parameter(torch.zeros(1))
        self.card = {"mean": [0.0] * 3, "std": [1.0] * 3, "size": [16, 16], "region": region}
        self.shapes = set()

    def distances(self, clips, sounds, which):
        self.shapes.add(tuple(clips.shape[1:]))
        light = clips.mean((1, 2, 3, 4))  # [P]
        return sounds.square().mean(1)[which] + 0 * light[:, None]


def test_whole_pictures_are_measured_by_their_faces(shared_data):
    path = min((shared_data / "talking_faces" / "clips").iterdir())
    model = shared_data / "models" / "yunet_n_640_640.onnx"
    network = Still(["mouth", 0.2])
    with open_video(path) as reader:
        found, shown = find_offset_of_faces(reader, network, model, reach=0.2)
        assert network.shapes == {(5, 3, 16, 16)}
        assert found.curve.windows.max() <= shown.info.num_frames - 4
        with pytest.raises(ValueError, match="didn't learn from tracked faces"):
            find_offset_of_faces(reader, Still([0.0, 0.0, 1.0, 0.5]), model)
        with pytest.raises(ValueError, match="and not the mouth"):
            find_offset(reader, network)


def test_recordings_without_a_face_are_refused(moving, shared_data):
    with open_video(moving[0].path) as reader, pytest.raises(ValueError, match="no face was found"):
        find_offset_of_faces(reader, Still(["mouth", 0.2]), shared_data / "models" / "yunet_n_640_640.onnx")


def test_copies_show_the_nearest_frames(tmp_path):
    path = tmp_path / "brighter.mp4"

    def pictures():
        for number in range(30):
            frame = VideoFrame.from_ndarray(np.full((64, 64, 3), 30 + 6 * number, np.uint8), format="rgb24")
            frame = frame.reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 30)
            yield frame

    write_movie(path, pictures(), pieces(torch.rand(16000) - 0.5, 16000), Movie(Fraction(30), (64, 64), 12, 16000), {})
    points = np.array([[22, 24], [42, 24], [32, 32], [24, 40], [40, 40]], float)
    track = Track(0, np.tile([16.0, 16.0, 32.0, 32.0], (30, 1)), np.tile(points, (30, 1, 1)), np.ones(30), np.zeros(30))
    write_part(probe(path), track, PART, tmp_path / "copy.mp4", 32)
    with open_video(path) as source, open_video(tmp_path / "copy.mp4") as copy:
        light = source.frames((torch.arange(30, dtype=torch.float64) + 0.5) / 30).float().mean((1, 2, 3))
        shown = (
            copy.frames((torch.arange(25, dtype=torch.float64) + 0.5) / 25)[:, :, 8:24, 8:24].float().mean((1, 2, 3))
        )
    frames = (shown[:, None] - light).abs().argmin(1)
    late = torch.arange(25) / 25 - frames / 30
    assert late.abs().max() < 1 / 60 + 1e-3
    assert late.mean().abs() < 0.004
