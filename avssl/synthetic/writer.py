"""Write a world to disk: real H.264/AAC mp4 files, or FLAC in Matroska, in parallel, each complete or absent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from filelock import FileLock
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from avssl.media.x264 import SAME_BYTES
from avssl.runtime.files import growing, user_cache, write_text
from avssl.runtime.workers import usable_cores
from avssl.synthetic.arena import ArenaWorld
from avssl.synthetic.driving import ArenaScene, Driven
from avssl.synthetic.face import TRUTH, FaceScene, FaceWorld
from avssl.synthetic.scene import Scene
from avssl.synthetic.sphere import SphereScene, SphereWorld
from avssl.synthetic.world import World

ODD = "odd.csv"  # in the folder of a world with odd acts
MARK = "world.json"  # written last: a folder that has it holds the whole world
AnyWorld = World | SphereWorld | ArenaWorld | FaceWorld
AnyScene = Scene | SphereScene | Driven | FaceScene
WORLDS: dict[str, type[AnyWorld]] = {
    "World": World,
    "SphereWorld": SphereWorld,
    "ArenaWorld": ArenaWorld,
    "FaceWorld": FaceWorld,
}
LAYOUTS = {4: "quad"}  # names by which FFmpeg writes so many channels, whose order is kept
KEYFRAMES = 12  # frames from one keyframe to the next; there are no B-frames, so frames are stored in display order


def default_folder(world: AnyWorld) -> Path:
    """Return a world's folder in the user's cache (``XDG_CACHE_HOME``, else ``~/.cache``)."""
    return user_cache() / "synthetic" / world.key


def write_world(world: AnyWorld, root: Path | None = None, workers: int | None = None) -> Path:
    """Render a world and return its folder, at once if it exists; complete one whose writing was interrupted.

    Files are ``<class>/<id>.mp4``, or ``<class>/<id>_view<v>.mp4`` with two views, and are byte-identical for any
    number of workers. If two callers write one world at the same time, the second waits for the first.

    Args:
        world: the settings.
        root: the world's folder; None is `default_folder`.
        workers: processes; None is one per core.

    Raises:
        ValueError: if ``root`` holds a world with other settings.
        RuntimeError: if a worker fails; its own message is on stderr.
    """
    root = default_folder(world) if root is None else Path(root)
    root.mkdir(parents=True, exist_ok=True)
    settings = world.settings
    mark = root / MARK
    with FileLock(root / ".lock"):  # released if its owner dies
        if mark.exists():
            if json.loads(mark.read_text()) != settings:
                raise ValueError(f"{root} holds another synthetic world ({mark.read_text()}): give another folder")
            return root
        for leftover in root.glob("*/.*.partial"):
            leftover.unlink()
        for folder in {(root / world.path(i, v)).parent for i in range(world.videos) for v in range(world.views)}:
            folder.mkdir(exist_ok=True)
        jobs = [(i, v) for i in range(world.videos) for v in range(world.views)]
        jobs = [job for job in jobs if not (root / world.path(*job)).exists()]
        _render(world, root, jobs, workers or usable_cores())
        if isinstance(world, World) and world.odd:
            write_text(root / ODD, odd_acts(world))
        write_text(mark, json.dumps(settings, indent=1) + "\n")
    return root


def odd_acts(world: World) -> str:
    """Return a table of a world's odd acts: path, label, start and stop in seconds, as `avssl index` reads lists."""
    lines = ["path,label,start,stop"]
    for index in range(world.videos):
        found = Scene(world, index).odd
        if found is not None:
            for view in range(world.views):
                lines.append(f"{world.path(index, view)},{found.kind},{found.start:.3f},{found.stop:.3f}")
    return "\n".join(lines) + "\n"


def _render(world: AnyWorld, root: Path, jobs: list[tuple[int, int]], workers: int) -> None:
    """Write the files of the jobs (index, view), showing progress.

    Workers are fresh processes: forking is unsafe once torch or OpenCV has threads, and spawning would import the
    caller's script again. Each prints one line per file; if this process dies, so do they, as their pipe breaks.
    """
    columns = TextColumn("synthetic world"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns) as progress:
        task = progress.add_task("", total=len(jobs))
        workers = min(workers, len(jobs))
        if workers <= 1:
            for index, view in jobs:
                write_video(scene_of(world, index, view), root / world.path(index, view))
                progress.advance(task)
            return
        command = [sys.executable, "-c", "from avssl.synthetic.writer import work; work()"]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        reading, writing = os.pipe()
        processes = []
        for worker in range(workers):
            share = {
                "kind": type(world).__name__,
                "world": asdict(world),
                "root": str(root.resolve()),
                "jobs": jobs[worker::workers],
            }
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=writing, env=environment, text=True)
            assert process.stdin is not None
            process.stdin.write(json.dumps(share))
            process.stdin.close()
            processes.append(process)
        os.close(writing)
        with os.fdopen(reading) as lines:
            for _ in lines:
                progress.advance(task)
        codes = [process.wait() for process in processes]
    if any(codes):
        raise RuntimeError(f"writing {root}: the workers ended with {codes}; see above, then call again to go on")


def scene_of(world: AnyWorld, index: int, view: int = 0) -> AnyScene:
    """Return one scene of a world, as seen by one camera."""
    if isinstance(world, ArenaWorld):
        return ArenaScene(world, index, view)
    if isinstance(world, FaceWorld):
        return FaceScene(world, index, view)
    return SphereScene(world, index, view) if isinstance(world, SphereWorld) else Scene(world, index, view)


def write_video(scene: AnyScene, path: Path) -> None:
    """Write one scene as seen by one camera: frame k at exactly ``k / fps`` seconds, sound from exactly 0 seconds.

    The mp4 edit list cuts the AAC encoder's delay of 1024 samples off the start of the sound. Depth maps, actions and
    the table of a face are written before the video, whose presence marks the scene as complete.
    """
    world = scene.world
    if isinstance(scene, Driven):
        write_text(path.with_suffix(".actions.csv"), scene.actions())
    if isinstance(scene, FaceScene):
        write_text(path.with_suffix(TRUTH), scene.table())
    if isinstance(scene, Scene) and scene.world.depth:
        folder = path.with_suffix(".depth")
        folder.mkdir(exist_ok=True)
        for k in range(world.num_frames):
            millimetres = np.rint(1000 * scene.depth(k / world.fps)).astype(np.uint16)
            cv2.imwrite(str(folder / f"{k:06d}.png"), millimetres)
    plain = world.container == "mp4"
    muxing = {"movflags": "+faststart", "fflags": "+bitexact"} if plain else {"fflags": "+bitexact"}
    with growing(path) as partial, av.open(str(partial), "w", format=world.container, options=muxing) as container:
        options = {"preset": "veryfast", "crf": "20", "bf": "0", "g": str(KEYFRAMES), **SAME_BYTES}
        video = container.add_stream("libx264", rate=world.fps, options=options)
        video.height, video.width = world.shape
        video.pix_fmt = "yuv420p"
        video.codec_context.time_base = Fraction(1, world.fps)
        layout, fits = ("mono", "fltp") if plain else (LAYOUTS[world.channels], "s16")
        if plain:
            audio = container.add_stream("aac", rate=world.rate, layout=layout, options={"aac_coder": "fast"})
            audio.bit_rate = 96_000
        else:
            audio = container.add_stream("flac", rate=world.rate, layout=layout)
        audio.codec_context.time_base = Fraction(1, world.rate)
        sound = np.atleast_2d(scene.sound())  # [C, S]
        if not plain:
            sound = np.rint(sound * 32767).astype(np.int16)
        for k in range(world.num_frames):
            picture = av.VideoFrame.from_ndarray(scene.frame(k / world.fps), format="rgb24")
            picture.pts, picture.time_base = k, Fraction(1, world.fps)
            container.mux(video.encode(picture))
            start, stop = (round(j * world.rate / world.fps) for j in (k, k + 1))
            part = sound[:, start:stop]
            packed = np.ascontiguousarray(part if plain else part.T.reshape(1, -1))  # FLAC takes interleaved samples
            samples = av.AudioFrame.from_ndarray(packed, fits, layout)
            samples.pts, samples.sample_rate, samples.time_base = start, world.rate, Fraction(1, world.rate)
            container.mux(audio.encode(samples))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))


def work() -> None:
    """Run as a worker: read jobs as JSON from stdin, and print one line per finished job."""
    cv2.setNumThreads(1)
    share = json.load(sys.stdin)
    world, root = WORLDS[share["kind"]](**share["world"]), Path(share["root"])
    for index, view in share["jobs"]:
        write_video(scene_of(world, index, view), root / world.path(index, view))
        print(index, flush=True)
