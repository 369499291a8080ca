"""Damaged files, long use, and what an import costs."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import forked
import numpy as np
import psutil
import pytest
import torch
from flashclick import Recipe, number, write

from avssl.media import MediaError, open_video, probe
from avssl.media.motion import scan


def test_opening_and_closing_leaks_nothing(films: dict[str, Path]) -> None:
    process = psutil.Process()
    infos = [probe(films[name]) for name in ("h264.mp4", "aac.mkv", "mpeg4_b.avi")]

    def use(times: int) -> None:
        for turn in range(times):
            info = infos[turn % len(infos)]
            with open_video(info.path, info=info) as reader:
                reader.frames(torch.tensor([1.0, 0.2]), size=(32, 32))
                reader.audio(0.5, 0.6, 16000)

    use(100)
    before = process.memory_info().rss, process.num_fds(), process.num_threads(), threading.active_count()
    use(500)
    after = process.memory_info().rss, process.num_fds(), process.num_threads(), threading.active_count()
    assert after[0] - before[0] < 5e6
    assert after[1:] == before[1:]


MUTATE = """
import sys
from pathlib import Path
import numpy as np, torch
from avssl.media import MediaError, open_video, probe
from avssl.media.motion import scan
source, folder = Path(sys.argv[1]), Path(sys.argv[2])
data = np.frombuffer(source.read_bytes(), np.uint8)
for seed in range(int(sys.argv[3])):
    draw = np.random.default_rng(seed)
    mutant = data.copy()
    if seed % 5 == 4:
        mutant = mutant[: draw.integers(1, len(mutant))]
    else:
        places = draw.integers(0, len(mutant), 10 ** (seed % 4 + 1))
        mutant[places] = draw.integers(0, 256, len(places))
    path = folder / f"{seed}{source.suffix}"
    path.write_bytes(mutant.tobytes())
    try:
        info = scan(path, probe(path))
        with open_video(path, "pyav", info=info) as reader:
            reader.frames(torch.rand(4, dtype=torch.float64) * info.duration * 0.999)
            if info.audio:
                reader.audio(0, min(info.duration, 60), 16000)
        print("read")
    except MediaError as error:
        print(error.code)
"""


@pytest.mark.parametrize("name", ["h264.mp4", "aac.mkv", "mpeg4_b.avi", "h264.ts", "vp9.webm"])
def test_mutated_files_give_reasons_not_crashes(name: str, films: dict[str, Path], tmp_path: Path) -> None:
    run = forked.run([sys.executable, "-c", MUTATE, films[name], tmp_path, 10])
    assert run.returncode == 0, run.stderr[-2000:]
    assert len(run.stdout.split()) == 10


@pytest.mark.parametrize("name", ["faststart.mp4", "aac.mkv", "h264.ts"])
def test_truncated_files_are_used_up_to_the_cut(name: str, films: dict[str, Path], tmp_path: Path) -> None:
    data = films[name].read_bytes()
    path = tmp_path / name
    path.write_bytes(data[: len(data) * 6 // 10])
    whole = probe(path)
    info = scan(path, whole)
    assert 10 < info.num_frames < 60
    with open_video(path, info=info) as reader:
        times = torch.arange(info.num_frames, dtype=torch.float64) / info.fps
        numbers = [number(image) for image in reader.frames(times)]
    assert numbers[: info.num_frames - 3] == list(range(info.num_frames - 3))
    if whole.duration > info.duration + 0.1:
        with open_video(path, info=whole) as reader, pytest.raises(MediaError, match=r"at \d\.\d\d s of") as caught:
            reader.frames(torch.tensor([whole.duration - 0.001]))
        assert caught.value.code in {"truncated", "corrupt"}


def test_motion_is_where_things_move(tmp_path: Path) -> None:
    path = write(Recipe("still.mp4", audio=None, frames=50), tmp_path)
    info = scan(path, probe(path))
    assert info.motion is not None
    assert info.motion.shape == (16,)
    assert info.motion.min() > 0.01  # a bar code changes with every frame
    slow = write(Recipe("slow.mp4", audio=None, frames=6, gaps=(20,)), tmp_path)
    profile = scan(slow, probe(slow)).motion
    assert profile is not None
    assert profile.min() > 0  # an eighth of a second without a frame takes the next one's
    one = write(Recipe("one.mp4", audio=None, frames=1), tmp_path)
    assert scan(one, probe(one)).motion.tolist() == [0.0]  # type: ignore[union-attr]


def test_silence_is_noticed(tmp_path: Path) -> None:
    silent = probe(write(Recipe("silent.mp4", frames=4), tmp_path))  # the first click would come with frame 5
    assert silent.audio is not None
    assert silent.audio.silent
    loud = probe(write(Recipe("loud.mp4", frames=20), tmp_path))
    assert loud.audio is not None
    assert not loud.audio.silent


def test_importing_media_imports_no_other_decoder() -> None:
    check = "import sys, avssl.media; print([name for name in ('decord', 'torchcodec') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", check], capture_output=True, text=True).stdout.strip() == "[]"


def test_random_seeks_in_a_long_recording_are_right(tmp_path: Path) -> None:
    path = write(Recipe("long.mp4", frames=1500, gop=50, size=(48, 64), audio=None), tmp_path)
    info = probe(path)
    picks = np.random.default_rng(0).integers(0, 1500, 20)
    with open_video(path, info=info) as reader:
        video = reader.frames(torch.from_numpy(picks / 25))
    assert [number(image) for image in video] == (picks % 256).tolist()
