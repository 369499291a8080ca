"""Small films of every kind whose picture, dates or sound are easily read wrongly; the right values are ffmpeg's."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import torch

from avssl.catalog.encode import CopyOptions, write_copy
from avssl.catalog.manifest import Manifest
from avssl.catalog.table import row_from_info
from avssl.media import VideoInfo, open_video, probe

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
