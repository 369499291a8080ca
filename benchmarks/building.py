"""CPU time of building, against only re-encoding the same files to the same pictures and sound.

    python benchmarks/building.py --root ../shared/data/talking_faces --files 60

CPU seconds (user and system) on one core are compared; contestants take turns on each file. Ours does everything that
the builder does with a source: hash, probe, normalise, observe, find shots, score, cut, hash again. The others only
re-encode: the ffmpeg command if it is installed, and a straight loop over PyAV, which needs no process per file.

    python benchmarks/building.py --root ../shared/data/talking_faces --files 16 --faces MODEL

measures instead how long each stage of the builder takes with people: tracks of faces, voice activity and a clip of
each face, in frames per second of one core. With ``--run=RUN`` the faces are scored by a run.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import ClassVar

import av
import torch
from av.video.reformatter import Interpolation

from avssl.avsync import source
from avssl.avsync.options import Accept, Crops, Cut, Faces, Normal, Options, Speech, Sync
from avssl.avsync.recording import Job
from avssl.avsync.score import OnsetScorer, make_scorer
from avssl.avsync.source import process
from avssl.avsync.store import Record, Store
from avssl.catalog.encode import copy_size
from avssl.media import MediaError, VideoInfo, probe
from avssl.media.x264 import SAME_BYTES
from avssl.runtime.files import digest_of

NORMAL = Normal()
X264 = {
    "preset": NORMAL.preset,
    "tune": "fastdecode",
    "crf": str(NORMAL.crf),
    "g": str(NORMAL.gop),
    "keyint_min": "1",
    "bf": "0",
    **SAME_BYTES,
}
Contestant = Callable[[VideoInfo, Path], None]


def ours(info: VideoInfo, folder: Path) -> None:
    """Run all stages of the builder that concern one source."""
    options = Options(Accept(unsignalled=True, length_tolerance=1e9), NORMAL, cut=Cut(seconds=5.0, min_seconds=1.0))
    outcome = process(Job(info.path, digest_of(info.path), folder / "store", options, OnsetScorer(0.6)))
    if "reason" in outcome:
        raise SystemExit(f"{info.path} was rejected: {outcome['why']}. Leave it out")


def by_ffmpeg(info: VideoInfo, folder: Path) -> None:
    """Run one ffmpeg command."""
    height, width = copy_size(info.size, NORMAL.short_side)
    video = [
        word for name, value in X264.items() for word in (f"-{name}:v" if name == "threads" else f"-{name}", value)
    ]
    command = ["ffmpeg", "-nostdin", "-loglevel", "error", "-y", "-threads", "1", "-i", f"file:{info.path}"]
    command += ["-vf", f"fps={NORMAL.fps:g},scale={width}:{height}:flags=area", "-filter_threads", "1", "-pix_fmt"]
    command += ["yuv420p", "-c:v", "libx264", *video, "-ac", "1", "-ar", str(NORMAL.audio_rate), "-c:a", "flac"]
    subprocess.run([*command, "-strict", "-2", "-movflags", "+faststart", f"{folder}/out.mp4"], check=True)


def by_pyav(info: VideoInfo, folder: Path) -> None:
    """Decode, scale and encode in a straight loop, repeating or skipping frames to keep the rate."""
    height, width = copy_size(info.size, NORMAL.short_side)
    with av.open(f"file:{info.path}") as source, av.open(f"{folder}/out.mp4", "w") as out:
        source.streams.video[0].thread_type = "NONE"
        video = out.add_stream("libx264", rate=Fraction(NORMAL.fps), options=X264)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        audio = out.add_stream("flac", rate=NORMAL.audio_rate, layout="mono", format="s16")
        resampler = av.AudioResampler("s16", "mono", NORMAL.audio_rate, 4096)
        number = 0
        for frame in source.decode(source.streams.video[0], source.streams.audio[0]):
            if isinstance(frame, av.AudioFrame):
                for piece in resampler.resample(frame):
                    out.mux(audio.encode(piece))
                continue
            scaled = frame.reformat(width, height, "yuv420p", interpolation=Interpolation.AREA)
            while number / NORMAL.fps < (frame.time or 0.0) - info.origin + 0.5 / NORMAL.fps:
                scaled.pts, scaled.time_base, scaled.pict_type = number, 1 / Fraction(NORMAL.fps), 0
                out.mux(video.encode(scaled))
                number += 1
        for piece in resampler.resample(None):
            out.mux(audio.encode(piece))
        out.mux(video.encode(None))
        out.mux(audio.encode(None))


def spent(work: Contestant, info: VideoInfo) -> float:
    """Return the CPU seconds of this process and of its children."""
    with tempfile.TemporaryDirectory() as folder:
        before = time.process_time(), resource.getrusage(resource.RUSAGE_CHILDREN)
        work(info, Path(folder))
        after = time.process_time(), resource.getrusage(resource.RUSAGE_CHILDREN)
    children = sum(getattr(after[1], name) - getattr(before[1], name) for name in ("ru_utime", "ru_stime"))
    return after[0] - before[0] + children


class TimedStore(Store):
    """A store that notes how long each stage takes, in seconds of processor time."""

    spent: ClassVar[Counter[str]] = Counter()

    def record(self, stage: str, key: str, make: Callable[[], Record], suffix: str | None = None) -> Record:
        """Make a record as the store does."""
        begin = time.process_time()
        found = super().record(stage, key, make, suffix)
        self.spent[stage] += time.process_time() - begin
        return found


def stages(infos: Sequence[VideoInfo], model: Path, run: Path | None) -> None:
    """Print how many frames per second of one core each stage takes."""
    source.Store = TimedStore  # type: ignore[misc]
    sync = Sync(run=run, seen=None if run is None else "track")
    options = Options(
        Accept(unsignalled=True, length_tolerance=1e9),
        cut=Cut(seconds=5.0, min_seconds=1.0, still=1.0, quiet=-90),
        speech=Speech("score"),
        faces=Faces(model),
        crops=Crops("face"),
        sync=sync,
    )
    scorer = make_scorer(sync, options.crops, tracked=True)
    frames = faces = 0
    for turn in range(2):  # the first loads networks
        TimedStore.spent.clear()
        frames = faces = 0
        for info in infos if turn else infos[:1]:
            with tempfile.TemporaryDirectory() as folder:
                outcome = process(Job(info.path, digest_of(info.path), Path(folder), options, scorer))
            frames += round(info.duration * 25)
            faces += sum(len(clip["people"]) for clip in outcome["clips"])
    total = sum(TimedStore.spent.values())
    print(
        f"{len(infos)} files, {frames} frames of 25 per second, {faces} faces of clips; load {os.getloadavg()[0]:.1f}"
    )
    print("| stage | frames per second of one core | share of the time |\n|---|---|---|")
    for stage, seconds in TimedStore.spent.most_common():
        print(f"| {stage} | {frames / seconds:.0f} | {seconds / total:.2f} |")
    print(f"| all | {frames / total:.0f} | 1 |")


def main() -> None:
    """Run the comparison and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, nargs="+", required=True, help="folders or files")
    parser.add_argument("--files", type=int, default=60, help="number of files, evenly chosen")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--faces", type=Path, help="model that finds faces: measure the stages instead")
    parser.add_argument("--run", type=Path, help="run that scores faces")
    args = parser.parse_args()
    torch.set_num_threads(1)
    paths = [path for root in args.root for path in (sorted(root.rglob("*")) if root.is_dir() else [root])]
    infos = []
    for path in paths[:: max(1, len(paths) // args.files)]:
        try:
            info = probe(path)
        except MediaError:
            continue
        if info.audio is not None and not info.audio.silent and info.duration > 1.1:
            infos.append(info)
    if not infos:
        raise SystemExit(f"{args.root}: no recording of more than 1.1 s with sound; name others with --root")
    if args.faces:
        stages(infos, args.faces, args.run)
        return
    contestants: dict[str, Contestant] = {"ours, all stages": ours, "PyAV, re-encode only": by_pyav}
    if shutil.which("ffmpeg"):
        version = subprocess.run(["ffmpeg", "-version"], capture_output=True, text=True, check=True).stdout.split()[2]
        contestants[f"ffmpeg {version}, re-encode only"] = by_ffmpeg
    total = dict.fromkeys(contestants, 0.0)
    for turn in range(args.rounds + 1):  # the first warms up
        for place, info in enumerate(infos):
            names = list(contestants)
            for name in names[place % len(names) :] + names[: place % len(names)]:
                seconds = spent(contestants[name], info)
                total[name] += seconds if turn else 0.0
    media = sum(info.duration for info in infos) * args.rounds
    mine = total["ours, all stages"]
    print(
        f"{len(infos)} files, {media / args.rounds:.0f} s, {args.rounds} rounds; load average {os.getloadavg()[0]:.1f}"
    )
    print("| who | hours of video per hour of one core | our time / its time |\n|---|---|---|")
    for name, seconds in total.items():
        print(f"| {name} | {media / seconds:.1f} | {mine / seconds:.2f} |")


if __name__ == "__main__":
    main()
