from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from av.video.frame import VideoFrame
from flashclick import Recipe, number, write

from avssl.catalog import measuring
from avssl.catalog.index import build_index
from avssl.media import MediaError, VideoInfo, open_video
from avssl.media.motion import profile, scan_frames
from avssl.media.probing import probe_frames
from avssl.media.pyav import PyAVReader
from avssl.media.segments import cut

LONG = Recipe("long.mp4", fps=Fraction(2), frames=1200, gop=12, size=(32, 64), audio=None)  # ten minutes


def test_a_segment_is_read_as_if_it_were_a_file(films: dict[str, Path]) -> None:
    """Frames and sound of a segment are those of the whole file at the same moments, in every container."""
    for name, path in films.items():
        info, times = probe_frames(path)
        if info.num_frames < 4:
            continue
        part = cut(info, times, None, 0.35 * info.duration, 0.8 * info.duration)
        assert part.start > 0
        asked = torch.linspace(0, part.duration - 1e-3, 7, dtype=torch.float64)
        with open_video(path, "pyav", info) as whole, open_video(path, info=part) as reader:
            assert torch.equal(reader.frames(asked), whole.frames(asked + part.start)), name
            with pytest.raises(ValueError, match="were requested"):
                reader.frames(torch.tensor([part.duration + 0.01]))
            if info.audio is None:
                continue
            for span in ((0.0, part.duration), (-0.2, 0.1), (part.duration - 0.1, part.duration + 0.2)):
                heard = reader.audio(*span, 16000)
                expected = whole.audio(span[0] + part.start, span[1] + part.start, 16000)
                assert torch.allclose(heard.samples, expected.samples, atol=1e-4), (name, span)
                assert np.ptp(heard.valid) == pytest.approx(np.ptp(expected.valid), abs=2e-4)


@pytest.mark.parametrize("fps", [24000 / 1001, 24, 25, 30000 / 1001, 50, 60000 / 1001, 60])
@pytest.mark.parametrize("digits", [2, 3])
def test_dates_that_an_annotation_rounded_find_their_frames_and_neighbours_tile(fps: float, digits: int) -> None:
    times = torch.arange(2000, dtype=torch.float64) / fps
    info = VideoInfo(Path("a.mp4"), 2000 / fps, fps, (4, 4), num_frames=2000)
    bounds = [0, 1, 7, 100, 101, 963, 1200, 2000]
    dates = [round(place / fps, digits) for place in bounds]
    parts = [cut(info, times, None, *pair) for pair in pairwise(dates)]
    assert [part.num_frames for part in parts] == np.diff(bounds).tolist()
    assert [part.start for part in parts] == times[bounds[:-1]].tolist()
    assert sum(part.duration for part in parts) == pytest.approx(info.duration)


def test_what_reaches_out_a_little_is_cut_and_the_rest_is_refused() -> None:
    times = torch.arange(100, dtype=torch.float64) / 25
    info = VideoInfo(Path("a.mp4"), 4.0, 25.0, (4, 4), num_frames=100)
    part = cut(info, times, None, -0.5, 5.5)
    assert (part.start, part.duration, part.num_frames) == (0.0, 4.0, 100)
    assert cut(info, times, None, 1.0, None).num_frames == 75
    for start, stop in (
        (1.0, 1.0),
        (2.0, 1.0),
        (1.0, 6.1),
        (4.0, 5.0),
        (-3.0, 1.0),
        (1.001, 1.01),
        (float("nan"), 1.0),
    ):
        with pytest.raises(MediaError) as error:
            cut(info, times, None, start, stop)
        assert error.value.code == "outside"


def test_motion_of_a_segment_is_that_of_its_frames(films: dict[str, Path]) -> None:
    path = next(iter(films.values()))
    info, times, moved = scan_frames(path, probe_frames(path)[0])
    part = cut(info, times, moved, 0.5, 1.5)
    assert part.motion is not None
    first = int(torch.searchsorted(times, part.start))
    assert len(part.motion) == int(np.ceil(8 * part.duration))
    inside = slice(first, first + part.num_frames)
    assert torch.equal(part.motion, profile(times[inside] - part.start, moved[inside], part.duration))


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(LONG, tmp_path_factory.mktemp("long"))


def test_a_thousand_segments_cost_one_decode(long: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dates = [f"{600 * part / 1000:.2f}" for part in range(1001)]
    rows = [f"long.mp4,{start},{stop},{'xy'[place % 2]}" for place, (start, stop) in enumerate(pairwise(dates))]
    (tmp_path / "list.csv").write_text("\n".join(["path,start,stop,label", *rows]))
    decoded: list[object] = []
    monkeypatch.setattr(measuring, "scan_frames", lambda place, info: decoded.append(place) or scan_frames(place, info))
    with ThreadPoolExecutor(1) as here:
        videos = build_index(long.parent, tmp_path / "videos.parquet", labels=tmp_path / "list.csv", executor=here)
    assert decoded == [long]
    assert len(videos) == 1000
    firsts = np.rint([2 * info.start for info in videos]).astype(int)
    assert firsts.tolist() == [round(float(date) * 2) for date in dates[:-1]]
    assert np.cumsum(videos.column("frames").to_numpy()).tolist() == [*firsts[1:], LONG.frames]  # they tile the film
    for place in (0, 1, 499, 999):
        with open_video(long, info=videos[place]) as reader:
            assert number(reader.frames(torch.tensor([0.0]))[0]) == firsts[place] % 256


def test_a_clip_deep_in_a_long_film_costs_its_distance_from_a_keyframe(
    long: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode, decoded = PyAVReader._decode, 0

    def counted(reader: PyAVReader, *how: object) -> Iterator[tuple[int, VideoFrame]]:
        nonlocal decoded
        for shown in decode(reader, *how):  # type: ignore[arg-type]
            decoded += 1
            yield shown

    def cost(info: VideoInfo) -> int:
        nonlocal decoded
        decoded = 0
        with open_video(info.path, info=info) as reader:
            reader.frames(torch.arange(16, dtype=torch.float64) / 2)
        return decoded

    monkeypatch.setattr(PyAVReader, "_decode", counted)
    own, _ = probe_frames(write(Recipe("own.mp4", fps=Fraction(2), frames=16, size=(32, 64), audio=None), tmp_path))
    info, times = probe_frames(long)
    for first in (0, 12, 600, 611, 1175):
        extra = cost(cut(info, times, None, first / 2, first / 2 + 8)) - cost(own)
        assert 0 <= extra <= first % 12 + 1  # and one to see that the last frame was reached
