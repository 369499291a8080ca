"""Small films of every kind whose picture, dates or sound are easily read wrongly; the right values are ffmpeg's."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from flashclick import Recipe, number, write

from avssl.catalog.encode import CopyOptions, write_copy
from avssl.catalog.finding import find_media
from avssl.catalog.manifest import Manifest
from avssl.catalog.table import row_from_info
from avssl.media import MediaError, VideoInfo, open_video, probe
from avssl.media.motion import scan
from avssl.media.packets import is_hidden

TURNS = {  # by file: the stored picture [H, W, 3] to the one shown
    "mirrored": lambda image: image[:, ::-1],
    "upside_down_mirrored": lambda image: image[::-1],
    "transposed": lambda image: image.swapaxes(0, 1),
    "antitransposed": lambda image: image[::-1, ::-1].swapaxes(0, 1),
    "turned_90": lambda image: np.rot90(image, -1),
    "turned_180": lambda image: np.rot90(image, 2),
    "turned_1_degree": lambda image: image,
    "turned_45_degrees": lambda image: image,
}
MIRRORED = {"mirrored", "upside_down_mirrored", "transposed", "antitransposed"}
TURNED = {
    "m_hflip": TURNS["mirrored"],
    "m_vflip": TURNS["upside_down_mirrored"],
    "m_transpose": TURNS["transposed"],
    "m_antitrans": TURNS["antitransposed"],
}


def first_frame(path: Path, info: VideoInfo | None = None) -> np.ndarray:
    """``[H, W, 3]`` as the reader shows it."""
    with open_video(path, info=info) as reader:
        return reader.frames(torch.tensor([0.0]))[0].permute(1, 2, 0).numpy()


def stored_frame(path: Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """``[H, W, 3]`` as the file stores it."""
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        height, width = size or (frame.height, frame.width)
        return frame.reformat(width, height, "rgb24", interpolation="AREA").to_ndarray()


@pytest.mark.parametrize(("name", "count"), [("m4.ts", 75), ("cod_theora.ogv", 100)])
def test_films_without_a_stated_frame_rate(name: str, count: int, shared_data: Path) -> None:
    info = probe(shared_data / "fault_files" / name)
    assert (info.num_frames, info.fps, info.vfr) == (count, pytest.approx(25), False)
    with open_video(info.path, info=info) as reader:
        assert len(reader.frames(torch.tensor([0.0, info.duration - 0.01]))) == 2


def test_pixels_are_square(shared_data: Path, tmp_path: Path) -> None:
    info = probe(shared_data / "fault_files" / "sar.mp4")
    assert info.size == (108, 273)
    assert info.backends == ("pyav",)
    assert np.array_equal(first_frame(info.path, info), stored_frame(info.path, info.size))
    write_copy(info, tmp_path / "copy.mp4", CopyOptions())
    assert probe(tmp_path / "copy.mp4").size == (108, 272)  # even


def test_scaled_pictures_keep_the_hue_of_every_pixel(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).choice([20, 235], (8, 10, 3)).astype(np.uint8)
    drawn = colours.repeat(12, 0).repeat(12, 1)  # [96, 120, 3]
    with av.open(str(tmp_path / "a.mp4"), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"crf": "4"})
        stream.height, stream.width, stream.pix_fmt = 96, 120, "yuv420p"
        out.mux(stream.encode(av.VideoFrame.from_ndarray(drawn, format="rgb24")))
        out.mux(stream.encode(None))
    with open_video(tmp_path / "a.mp4", "pyav") as reader:
        small = reader.frames(torch.tensor([0.0]), (32, 32))[0].float()
    right = torch.nn.functional.interpolate(torch.from_numpy(drawn).permute(2, 0, 1)[None].float(), 32, mode="area")
    assert (small - right[0]).abs().mean() < 9  # 15 if pairs of pixels share their hue


@pytest.mark.parametrize("name", TURNS | TURNED)
def test_mirrored_and_turned_pictures(name: str, shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / ("fault_files" if name in TURNED else "fault_cases/flip") / f"{name}.mp4"
    info = probe(path)
    right = (TURNS | TURNED)[name](stored_frame(path))
    assert info.size == right.shape[:2]
    assert info.mirrored == (name in MIRRORED or name in TURNED)
    assert np.array_equal(first_frame(path, info), right)
    if name in ("turned_90", "turned_180"):
        return
    assert info.backends == ("pyav",)
    write_copy(info, tmp_path / "copy.mp4", CopyOptions())
    assert np.abs(first_frame(tmp_path / "copy.mp4").astype(int) - right).mean() < 6
    rows = [row_from_info(info) | {"root": str(path.parent), "path": path.name}]
    Manifest.from_rows(rows).write(tmp_path / "videos.parquet")
    assert Manifest.open(tmp_path / "videos.parquet")[0].mirrored == info.mirrored


def test_manifests_from_before_pictures_were_mirrored(tmp_path: Path) -> None:
    rows = [{"root": "/", "path": "a.mp4", "status": "ok", "height": 4, "width": 4, "backends": ["pyav"]}]
    Manifest.from_rows(rows).write(tmp_path / "new.parquet")
    table = pq.read_table(tmp_path / "new.parquet").drop_columns("mirrored")
    assert b"avssl" in table.schema.metadata
    pq.write_table(table, tmp_path / "old.parquet")
    with pa.OSFile(str(tmp_path / "old.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    for name in ("old.parquet", "old.arrow"):
        assert Manifest.open(tmp_path / name)[0].mirrored is False


def tone(samples: torch.Tensor) -> int:
    """The strongest frequency of half a second at 16 kHz, in Hz."""
    values = samples.numpy() - samples.numpy().mean()
    return int(np.abs(np.fft.rfft(values * np.hanning(len(values)))).argmax() / (len(values) / 16000))


@pytest.mark.parametrize("name", ["51_to_stereo", "stereo_to_51", "48_to_32_kHz"])
def test_sound_that_changes_its_format(name: str, shared_data: Path) -> None:
    info = probe(shared_data / "fault_cases" / "sound_changes" / f"{name}.ts")
    levels = []
    for start, stop in ((0, 3.7), (1.5, 2.4), (2.4, 3.4)):
        with open_video(info.path, info=info) as reader:
            end = reader.audio(start, stop, 16000).samples[-8000:]
        assert tone(end) == 500
        levels.append(float(end.square().mean().sqrt()))
    with open_video(info.path, info=info) as reader:
        again = reader.audio(0, 3.7, 16000).samples[round(1.9 * 16000) : round(2.4 * 16000)]
    assert levels[1] == pytest.approx(float(again.square().mean().sqrt()), rel=0.01)
    assert levels[0] == pytest.approx(levels[2], rel=0.01)
    assert min(levels) > 0.01


@pytest.mark.parametrize("name", ["aud_lay_ac3.ts", "aud_mono_aac.ts"])
def test_sound_whose_channels_change(name: str, shared_data: Path) -> None:
    info = probe(shared_data / "fault_files" / name)
    with open_video(info.path, info=info) as reader:
        clip = reader.audio(0, info.duration, 16000)
    seconds = clip.samples[: 16000 * int(info.duration)].view(-1, 16000)
    assert (seconds.square().mean(1).sqrt() > 0.01).all()
    assert clip.valid[1] > info.duration - 0.1


@pytest.mark.parametrize(
    ("name", "end"), [("broken_last_sound/cut.ts", 2.99), ("broken_last_sound/cut.flv", 2.99), ("cut150_ca.ts", 2.99)]
)
def test_sound_that_breaks_off(name: str, end: float, shared_data: Path, tmp_path: Path) -> None:
    folder = "fault_cases" if "/" in name else "fault_files"
    info = probe(shared_data / folder / name)
    assert info.num_frames == 75
    for start, stop in ((0, 2.5), (2, 2.95), (2.5, info.duration)):
        with open_video(info.path, info=info) as reader:
            valid = reader.audio(start, stop, 16000).valid
        assert valid == (pytest.approx(start, abs=0.03), pytest.approx(min(stop, end), abs=0.05))
    write_copy(info, tmp_path / "copy.mp4", CopyOptions())
    copy = probe(tmp_path / "copy.mp4")
    assert copy.audio is not None
    assert copy.audio.duration > 2.9


@pytest.mark.parametrize("name", ["fault_files/cam_audio0.avi", "fault_cases/avi_sound_index/cam.avi"])
def test_sound_without_keyframes_in_the_index(name: str, shared_data: Path) -> None:
    info = probe(shared_data / name)
    with open_video(info.path, info=info) as reader:
        whole = reader.audio(0, info.duration, 16000)
        part = reader.audio(1.0, 1.5, 16000)
    assert whole.valid == (0, pytest.approx(info.duration, abs=0.05))
    assert torch.allclose(part.samples, whole.samples[16000:24000], atol=1e-3)


def test_broken_sound_in_the_middle_is_an_error(tmp_path: Path) -> None:
    path = write(Recipe("a.mkv", audio="flac"), tmp_path)
    with av.open(str(path)) as inside, av.open(str(tmp_path / "broken.mkv"), "w") as out:
        streams = {stream.index: out.add_stream_from_template(stream) for stream in inside.streams}
        for place, packet in enumerate(inside.demux()):
            if packet.dts is None:
                continue
            copy = av.Packet(
                b"\0" * packet.size if packet.stream.type == "audio" and 60 < place < 70 else bytes(packet)
            )
            copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
            copy.is_keyframe, copy.stream = packet.is_keyframe, streams[packet.stream.index]
            out.mux(copy)
    info = probe(tmp_path / "broken.mkv")
    with (
        open_video(info.path, info=info) as reader,
        pytest.raises(MediaError, match="sound can't be decoded at") as caught,
    ):
        reader.audio(0, info.duration, 16000)
    assert caught.value.code == "corrupt"


def test_unusual_colour_matrices_are_refused(tmp_path: Path) -> None:
    path = write(Recipe("a.mp4", audio=None, frames=12, options={"x264-params": "colormatrix=YCgCo"}), tmp_path)
    with pytest.raises(MediaError, match="colours can't be converted") as caught:
        probe(path)
    assert caught.value.code == "undecodable"
    with (
        open_video(path, info=VideoInfo(path, 0.48, 25, (96, 128), num_frames=12)) as reader,
        pytest.raises(MediaError, match=r"frame at 0.00 s can't be converted"),
    ):
        reader.frames(torch.tensor([0.0]))


def bars(image: torch.Tensor) -> int:
    """The number that ten columns of a picture show, lowest bit first."""
    width = image.shape[2] / 10
    columns = (image[:, :, int((bit + 0.3) * width) : int((bit + 0.7) * width)] for bit in range(10))
    return sum(1 << bit for bit, column in enumerate(columns) if column.float().mean() > 125)


def field_bars(image: torch.Tensor) -> int:
    """The number that eight columns of 16 pixels show."""
    columns = (image[:, :, 16 * bit + 4 : 16 * bit + 12] for bit in range(8))
    return sum(1 << bit for bit, column in enumerate(columns) if column.float().mean() > 128)


def shown(info: VideoInfo, count: int, numbers: Callable[[torch.Tensor], int], backend: str = "pyav") -> list[int]:
    """What is shown in the middle of each of ``count`` frames at 25 per second, asked for in random order."""
    order = np.random.default_rng(0).permutation(count)
    with open_video(info.path, backend, info=info) as reader:
        images = [reader.frames(torch.tensor([(place + 0.5) / 25], dtype=torch.float64))[0] for place in order]
    return [numbers(images[place]) for place in np.argsort(order)]


FILMS = {  # by path: the right numbers, and whether a seek is to be trusted
    "fault_files/paff.ts": (range(50), False),
    "fault_files/paff.mp4": (range(50), False),
    "fault_cases/field_pictures/paff.ts": (range(20), False),
    "fault_cases/field_pictures/paff.mkv": (range(20), False),
    "fault_files/b0_k0.ts": (range(75), False),
    "fault_files/m2_k12.ts": (range(75), True),
    "fault_files/m2_k1.mpg": (range(75), False),
    "fault_files/cod_theora.ogv": (range(100), True),
    "fault_files/cod_intrarefresh.mp4": (range(100), False),
    "fault_files/cod_intrarefresh.mkv": (range(100), False),
    "fault_cases/ts_without_pts/full.ts": (range(50), True),
    "fault_cases/ts_without_pts/full2.ts": (range(50), True),
    "fault_cases/ts_without_pts/full2_25.ts": (range(50), False),
    "fault_cases/ts_without_pts/full_0.ts": (range(50), False),
    "fault_cases/ts_without_pts/full_1000.ts": (range(50), False),
    "fault_cases/ts_without_pts/full_25.ts": (range(50), False),
    "fault_cases/seek_trusted/refresh.mp4": (range(75), False),
    "fault_cases/seek_trusted/refresh.mkv": (range(75), False),
    "fault_cases/seek_trusted/no_stss_hevc.mp4": (range(75), False),
    "fault_cases/seek_trusted/no_stss_mpeg4.mp4": (range(75), False),
    "fault_cases/seek_trusted/palette.mov": (range(75), False),
    "fault_cases/seek_trusted/reordered.asf": (range(75), False),
    "fault_cases/seek_trusted/two_edits.mp4": ([*range(13, 38), *range(63, 88)], False),
    "fault_cases/seek_trusted/plain.mp4": (range(100), True),
    "fault_cases/no_frame_rate/mpeg4.ts": (range(25), True),
    "fault_cases/no_frame_rate/theora.ogv": (range(25), True),
}


@pytest.mark.parametrize("name", FILMS)
def test_every_frame_is_the_right_one(name: str, shared_data: Path) -> None:
    right, seekable = FILMS[name]
    numbers = field_bars if "paff" in name else bars
    probed = probe(shared_data / name)
    scanned = scan(probed.path, probed)
    assert (probed.seekable, scanned.seekable) == (seekable, seekable)
    assert probed.backends == scanned.backends
    for info in (probed, scanned):
        assert (info.num_frames, info.fps, info.vfr) == (len(right), pytest.approx(25), False)
        assert info.duration == pytest.approx(len(right) / 25)
        assert shown(info, len(right), numbers) == list(right)
    for backend in scanned.backends[1:]:
        if importlib.util.find_spec(backend):
            assert shown(scanned, len(right), numbers, backend) == list(right)


def test_joined_recordings_whose_clock_starts_anew(tmp_path: Path) -> None:
    part = write(Recipe("part.ts", frames=60, options={"x264-params": "repeat-headers=1"}), tmp_path)
    path = tmp_path / "joined.ts"
    path.write_bytes(2 * part.read_bytes())
    info = probe(path)
    assert (info.num_frames, info.seekable) == (120, False)
    assert info.duration == pytest.approx(4.8)
    assert shown(info, 120, number) == [*range(60), *range(60)]
    scanned = scan(path, info)
    assert (scanned.num_frames, scanned.duration) == (120, pytest.approx(4.8))


@pytest.mark.parametrize(
    ("name", "x264", "seekable"),
    [
        ("refresh.ts", "intra-refresh=1:keyint=10", False),
        ("refresh.flv", "intra-refresh=1:keyint=10", False),
        ("open.ts", "open-gop=1:keyint=10:bframes=2", True),
        ("open.mp4", "open-gop=1:keyint=10:bframes=2", True),
        ("intra.mp4", "keyint=1", True),
    ],
)
def test_where_decoding_may_start(name: str, x264: str, seekable: bool, tmp_path: Path) -> None:
    info = probe(write(Recipe(name, audio=None, frames=30, size=(48, 64), options={"x264-params": x264}), tmp_path))
    assert info.seekable == seekable
    assert shown(info, 30, number) == list(range(30))


def test_frames_shown_before_their_keyframe_are_not_for_decord(tmp_path: Path) -> None:
    recipe = Recipe("a.mp4", video="mpeg4", audio=None, frames=30, size=(48, 64), fine=False)
    info = probe(write(recipe, tmp_path))
    assert info.backends == ("pyav", "torchcodec")  # decord would give 10 of 30 wrongly
    assert shown(info, 30, number) == list(range(30))


def test_avi_whose_decoder_holds_frames_back_longer_than_stated(tmp_path: Path) -> None:
    info = probe(write(Recipe("a.avi", audio=None, frames=30, size=(48, 64), fine=False), tmp_path))
    assert info.num_frames == 30
    assert shown(info, 30, number) == list(range(30))


def test_an_mp4_without_table_of_keyframes_is_read_by_pyav_only(tmp_path: Path) -> None:
    path = write(Recipe("a.mp4", audio=None, frames=30, size=(48, 64)), tmp_path)
    assert len(probe(path).backends) == 3
    path.write_bytes(path.read_bytes().replace(b"stss", b"free"))  # decord would then give 27 of 30 wrongly
    info = probe(path)
    assert info.backends == ("pyav",)
    assert shown(info, 30, number) == list(range(30))


@pytest.mark.parametrize(
    ("codec", "data", "hidden"),
    [
        ("vp8", b"\x10\x00", False),
        ("vp8", b"\x01\x00", True),
        ("libvpx-vp9", b"\x86\x00", False),  # a frame that is shown
        ("vp9", b"\x84\x00", True),
        ("vp9", b"\x88\x00", False),  # shows an earlier frame
        ("vp9", b"\x84\x00\xc1", False),  # a superframe: a hidden frame and one that is shown
        ("h264", b"\x00\x00", False),
    ],
)
def test_hidden_packets(codec: str, data: bytes, hidden: bool) -> None:
    class Packet(bytes):
        stream = SimpleNamespace(codec_context=SimpleNamespace(name=codec))

    assert is_hidden(Packet(data)) == hidden


def test_all_endings_are_indexed(shared_data: Path) -> None:
    folder = shared_data / "fault_cases" / "endings" / "films"
    assert {found.path for found in find_media(folder)} == {path.name for path in folder.iterdir()}


def test_one_gif_does_not_make_photographs_a_collection_of_videos(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.gif"):
        (tmp_path / name).touch()
    assert [found.path for found in find_media(tmp_path)] == ["a.jpg"]
    (tmp_path / "a.jpg").unlink()
    assert [found.path for found in find_media(tmp_path)] == ["b.gif"]
