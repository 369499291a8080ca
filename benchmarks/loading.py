"""Time to read random clips: ours against decord and torchcodec used the usual way, one process on one core.

    python benchmarks/loading.py --ut DIR --faces DIR
    python benchmarks/loading.py --root PREPARED --baseline-root ORIGINALS
    python benchmarks/loading.py --sources DIR

Each contestant reads the same 16 frames at 112 x 112, and the sound of that span at 16 kHz where the file has sound,
from a freshly opened file. Contestants take turns on each clip; medians are compared. Ours is given the result of
``probe`` beforehand, as in training (from the manifest); the others probe by opening. All use one core, as each worker
of a busy loader does: decord decodes in a second thread even if told to use one.

``--sources`` compares processor time of the same clips where they lie: in files, and in a tar archive made for this.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import decord
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from avssl.media import AudioClip, VideoInfo, open_video, probe
from avssl.media.tar import members
from avssl.media.window import open_range, whole

FRAMES, SIZE, RATE = 16, (112, 112), 16000
SUFFIXES = {".mp4", ".avi", ".mkv", ".mov", ".webm"}
Contestant = Callable[[VideoInfo, float], Any]


def ours(backend: str) -> Contestant:
    """Return our reader, which is asked for seconds."""

    def read(info: VideoInfo, start: float) -> tuple[Tensor, AudioClip | None]:
        with open_video(info.path, backend, info=info) as reader:
            video = reader.frames(start + (torch.arange(FRAMES, dtype=torch.float64) + 0.25) / info.fps, SIZE)
            return video, reader.audio(start, start + FRAMES / info.fps, RATE) if info.audio else None

    return read


def resized(video: Tensor) -> Tensor:
    """Scale ``[T, 3, H, W]`` uint8 by torch, as a torchvision transform does."""
    return interpolate(video, SIZE, mode="bilinear", antialias=True)


def by_decord(info: VideoInfo, start: float) -> object:
    """Read with decord, the usual way."""
    reader = decord.VideoReader(str(info.path), num_threads=1)
    first = min(round(start * info.fps), len(reader) - FRAMES)
    video = resized(reader.get_batch(list(range(first, first + FRAMES))).permute(0, 3, 1, 2).contiguous())
    if info.audio is None:
        return video
    sound = decord.AudioReader(str(info.path), sample_rate=RATE, mono=True)
    return video, sound[:][:, round(start * RATE) : round((start + FRAMES / info.fps) * RATE)]


def by_torchcodec(scale_inside: bool) -> Contestant:
    """Return a reader of torchcodec, used directly, that scales in its filter graph or by torch."""
    from torchcodec.decoders import AudioDecoder, VideoDecoder  # may be absent for --sources
    from torchcodec.transforms import Resize

    def read(info: VideoInfo, start: float) -> object:
        transforms = [Resize(SIZE)] if scale_inside else None
        decoder = VideoDecoder(str(info.path), num_ffmpeg_threads=1, transforms=transforms)
        first = min(round(start * info.fps), len(decoder) - FRAMES)
        video = decoder.get_frames_at(list(range(first, first + FRAMES))).data
        video = video if scale_inside else resized(video.contiguous())
        if info.audio is None:
            return video
        sound = AudioDecoder(str(info.path), sample_rate=RATE, num_channels=1)
        return video, sound.get_samples_played_in_range(start, start + FRAMES / info.fps)

    return read


def clips(root: Path, count: int) -> list[tuple[VideoInfo, float]]:
    """Return random recordings of a folder, with a random start in each."""
    paths = sorted(path for path in root.rglob("*") if path.suffix in SUFFIXES)
    draw = torch.Generator().manual_seed(0)
    chosen = [probe(paths[place]) for place in torch.randperm(len(paths), generator=draw)[:count].tolist()]
    spans = [(info, info.duration - (FRAMES + 1) / info.fps) for info in chosen]
    return [(info, span * float(torch.rand((), generator=draw))) for info, span in spans if span > 0]


def race(items: list[tuple[VideoInfo, float]], contestants: dict[str, Contestant], rounds: int) -> dict[str, float]:
    """Return the median milliseconds per clip of each contestant; they take turns."""
    spent: dict[str, list[float]] = {name: [] for name in contestants}
    draw = random.Random(0)
    for turn in range(rounds + 1):  # the first round warms up
        for info, start in items:
            for name in draw.sample(list(contestants), len(contestants)):  # each warms the next one's caches
                begin = time.perf_counter()
                contestants[name](info, start)
                if turn:
                    spent[name].append(1000 * (time.perf_counter() - begin))
    return {name: statistics.median(times) for name, times in spent.items()}


def report(title: str, times: dict[str, float], auto: float) -> None:
    """Print a table of times and their ratios to ``auto``."""
    print(f"\n{title}\n| reader | ms per clip | ratio |\n|---|---|---|")
    for name, taken in times.items():
        print(f"| {name} | {taken:.2f} | {taken / auto:.2f} |")


def everyone(items: list[tuple[VideoInfo, float]]) -> dict[str, Contestant]:
    """Return all contestants that can read these files; our other backends if every file allows them."""
    others = [name for name in ("torchcodec", "decord") if all(name in info.backends for info, _ in items)]
    return {
        "ours, auto": ours("auto"),
        **{f"ours, {name}": ours(name) for name in ("pyav", *others)},
        "decord, the usual way": by_decord,
        "torchcodec, own resize": by_torchcodec(True),
        "torchcodec, torch resize": by_torchcodec(False),
    }


def in_tar(items: list[tuple[VideoInfo, float]], archive: Path) -> Contestant:
    """Pack the recordings into an archive, and return our reader of its members; checks that they are the same."""
    paths = sorted({info.path for info, _ in items})
    with tarfile.open(archive, "w") as tar:
        for number, path in enumerate(paths):
            tar.add(path, f"{number}{path.suffix}")
    found = members(open_range(whole(archive)), str(archive))
    places = {path: member.source(whole(archive)) for path, member in zip(paths, found, strict=True)}
    within = {id(info): replace(info, source=places[info.path]) for info, _ in items}
    read = ours("pyav")
    for info, start in items:
        one, other = read(info, start), read(within[id(info)], start)
        assert torch.equal(one[0], other[0])
        assert info.audio is None or torch.equal(one[1].samples, other[1].samples)
    return lambda info, start: read(within[id(info)], start)


def effort(items: list[tuple[VideoInfo, float]], contestants: dict[str, Contestant], rounds: int) -> dict[str, float]:
    """Return the mean milliseconds of processor time per clip, of each the least in some rounds; they take turns."""
    least = {name: [float("inf")] * len(items) for name in contestants}
    draw = random.Random(0)
    for _ in range(rounds + 1):
        for place, (info, start) in enumerate(items):
            for name in draw.sample(list(contestants), len(contestants)):
                begin = time.process_time()
                contestants[name](info, start)
                least[name][place] = min(least[name][place], 1000 * (time.process_time() - begin))
    return {name: statistics.mean(times) for name, times in least.items()}


def main() -> None:
    """Run the comparison on the folders given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ut", type=Path, help="folder of ut_interaction")
    parser.add_argument("--faces", type=Path, help="folder of talking_faces")
    parser.add_argument("--root", type=Path, help="folder of prepared media")
    parser.add_argument("--baseline-root", type=Path, help="folder of the originals, read by decord")
    parser.add_argument("--sources", type=Path, help="folder whose clips are read as files and as members of a tar")
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cores", type=int, default=1, help="cores that all share; 2 hides decord's second thread")
    args = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.cores])
    torch.set_num_threads(1)
    decord.bridge.set_bridge("torch")
    print(f"load average {os.getloadavg()[0]:.1f}; {len(os.sched_getaffinity(0))} core(s)")
    for root in (args.ut, args.faces):
        if root:
            items = clips(root, args.clips)
            medians = race(items, everyone(items), args.rounds)
            report(f"{root.name}: {len(items)} clips, {args.rounds} rounds", medians, medians["ours, auto"])
    if args.sources:
        items = clips(args.sources, args.clips)
        with tempfile.TemporaryDirectory() as folder:
            contestants = {"files": ours("pyav"), "members of a tar": in_tar(items, Path(folder) / "clips.tar")}
            means = effort(items, contestants, args.rounds)
        report(f"{args.sources.name}: {len(items)} clips, processor time", means, means["files"])
    if args.root and args.baseline_root:
        prepared, originals = clips(args.root, args.clips), clips(args.baseline_root, args.clips)
        medians = {}
        for turn in range(args.rounds):
            for name, items, read in (
                ("ours, prepared", prepared, ours("auto")),
                ("torchcodec on prepared", prepared, by_torchcodec(True)),
                ("decord on originals", originals, by_decord),
            ):
                medians[f"{name}, round {turn}"] = race(items, {name: read}, 1)[name]
        names = ("ours, prepared", "torchcodec on prepared", "decord on originals")
        best = {
            name: statistics.median(medians[f"{name}, round {turn}"] for turn in range(args.rounds)) for name in names
        }
        report(f"prepared {args.root.name} against originals {args.baseline_root.name}", best, best["ours, prepared"])


if __name__ == "__main__":
    main()
