"""Time to read random clips: ours against decord and torchcodec used the usual way, one process on one core.

    python benchmarks/loading.py --ut DIR --faces DIR
    python benchmarks/loading.py --root PREPARED --baseline-root ORIGINALS
    python benchmarks/loading.py --sources [DIR]

Each contestant reads the same 16 frames at 112 x 112, and the sound of that span at 16 kHz where the file has sound,
from a freshly opened file. Contestants take turns on each clip; medians are compared. Ours is given the result of
``probe`` beforehand, as in training (from the manifest); the others probe by opening. All use one core, as each worker
of a busy loader does: decord decodes in a second thread even if told to use one.

``--sources`` compares processor time of the same clips where they lie: in files, in a tar archive and in a local S3
server; without a folder, of 100 films made for this, also as segments of one long file. What is read must be the same.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import boto3
import decord
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from avssl.catalog.index import build_index
from avssl.catalog.manifest import Manifest
from avssl.media import AudioClip, Store, VideoInfo, name_stores, open_video, probe

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/media"))
from flashclick import Recipe, number, write
from servers import serving_s3

FRAMES, SIZE, RATE = 16, (112, 112), 16000
FPS, LENGTH, MADE = 24, 48, 100  # of the films made: frames per second, frames, films
SETTLED = 0.1  # seconds within which a decoder of sound forgets what it began with
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


def long_films(folder: Path) -> Path:
    """Write a folder of films and return it; beside it the long film that they are copied from, and it encoded anew."""
    films, apart = folder / "films", {"x264-params": f"keyint={LENGTH}:min-keyint={LENGTH}:scenecut=0:open-gop=0"}
    for name in ("films", "copied", "encoded"):
        (folder / name).mkdir()
    recipe = Recipe("copied/long.mp4", fps=Fraction(FPS), frames=MADE * LENGTH, gop=LENGTH, options=apart)
    copied, encoded = write(recipe, folder), write(replace(recipe, name="encoded/long.mp4", gop=12, options={}), folder)
    with av.open(str(copied)) as given:
        packets = [packet for packet in given.demux() if packet.size]
        for film in range(MADE):
            with av.open(str(films / f"{film:03d}.mp4"), "w", options={"movie_timescale": "48000"}) as out:
                into = {stream.index: out.add_stream_from_template(stream) for stream in given.streams}
                for packet in packets:
                    start = round(film * LENGTH / FPS / packet.time_base)
                    stop = round((film + 1) * LENGTH / FPS / packet.time_base)
                    if start <= packet.pts < stop:
                        new = av.Packet(bytes(packet))
                        new.pts, new.dts, new.time_base = packet.pts - start, packet.dts - start, packet.time_base
                        new.duration, new.is_keyframe = packet.duration, packet.is_keyframe
                        new.stream = into[packet.stream.index]
                        out.mux(new)
    for path in (copied, encoded):
        rows = [f"{path.name},{film * LENGTH / FPS},{(film + 1) * LENGTH / FPS}" for film in range(MADE)]
        path.with_suffix(".csv").write_text("\n".join(["path,start,stop", *rows]))
    return films


def everywhere(films: Path, folder: Path, url: str) -> dict[str, Manifest]:
    """Index the recordings of a folder as files, as members of an archive and as objects."""

    def indexed(root: Path | str, **how: Any) -> Manifest:
        with ThreadPoolExecutor(1) as here:
            return build_index(root, folder / f"{len(made)}.parquet", motion=False, executor=here, **how)

    made: dict[str, Manifest] = {}
    made["files"] = indexed(films)
    store = boto3.client("s3", endpoint_url=url)
    store.create_bucket(Bucket="lab")
    (folder / "shards").mkdir()
    with tarfile.open(folder / "shards/films.tar", "w") as tar:
        for key, info in zip(made["files"].keys.to_pylist(), made["files"], strict=True):
            tar.add(info.path, key)
            store.upload_file(str(info.path), "lab", key)
    made["members of a tar"] = indexed(folder / "shards")
    made["objects in S3"] = indexed("s3://lab")
    if films.parent == folder:
        for name in ("copied", "encoded"):
            made[f"segments of a long file, {name}"] = indexed(folder / name, labels=folder / name / "long.csv")
    return made


def check_same(places: dict[str, Manifest], starts: list[float]) -> None:
    """Check that each clip is read alike: bit by bit, or in a film encoded otherwise by the numbers that it shows."""
    read = ours("pyav")
    for row, start in enumerate(starts):
        one, sound = read(places["files"][row], start)
        for name, videos in places.items():
            other, heard = read(videos[row], start)
            if "encoded" not in name:
                assert torch.equal(one, other), (name, row)
            if "long" in name:
                first = LENGTH * int(places["files"][row].path.stem) + int(start * FPS + 0.25)
                assert [number(frame) for frame in other] == [(first + frame) % 256 for frame in range(FRAMES)], row
            if sound is not None and ("long" not in name or start > SETTLED):  # a film that was cut out begins anew
                assert torch.equal(sound.samples, heard.samples), (name, row)


def sources(root: Path | None, count: int, rounds: int) -> None:
    """Compare the places that the clips of a folder, or of films made for this, may be read from."""
    os.environ |= {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing", "AWS_DEFAULT_REGION": "us-east-1"}
    with tempfile.TemporaryDirectory() as made, serving_s3() as server:
        name_stores({"lab": Store("s3://lab", endpoint=server.url, allow_http=True)})
        places = everywhere(root or long_films(Path(made)), Path(made), server.url)
        draw = torch.Generator().manual_seed(0)
        chosen = torch.randperm(len(places["files"]), generator=draw)[:count].tolist()
        places = {name: videos.select(chosen) for name, videos in places.items()}
        starts = [
            float(torch.rand((), generator=draw)) * (info.duration - (FRAMES + 1) / info.fps)
            for info in places["files"]
        ]
        check_same(places, starts)
        infos = {name: list(videos) for name, videos in places.items()}
        read = ours("pyav")
        contestants = {name: lambda row, start, own=own: read(own[row], start) for name, own in infos.items()}
        means = effort(list(enumerate(starts)), contestants, rounds)
    report(f"{root.name if root else 'films made'}: {len(starts)} clips, processor time", means, means["files"])


def effort(items: list[tuple[int, float]], contestants: dict[str, Callable[..., Any]], rounds: int) -> dict[str, float]:
    """Return the mean milliseconds of processor time per clip, of each the least in some rounds; they take turns."""
    least = {name: [float("inf")] * len(items) for name in contestants}
    draw = random.Random(0)
    for _ in range(rounds + 1):
        for row, start in items:
            for name in draw.sample(list(contestants), len(contestants)):
                begin = time.thread_time()  # the server has threads of its own
                contestants[name](row, start)
                least[name][row] = min(least[name][row], 1000 * (time.thread_time() - begin))
    return {name: statistics.mean(times) for name, times in least.items()}


def main() -> None:
    """Run the comparison on the folders given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ut", type=Path, help="folder of ut_interaction")
    parser.add_argument("--faces", type=Path, help="folder of talking_faces")
    parser.add_argument("--root", type=Path, help="folder of prepared media")
    parser.add_argument("--baseline-root", type=Path, help="folder of the originals, read by decord")
    parser.add_argument(
        "--sources", type=Path, nargs="?", const=Path(), help="folder whose clips are read from all places"
    )
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
        sources(None if args.sources == Path() else args.sources, args.clips, args.rounds)
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
