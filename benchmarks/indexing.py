"""Time and memory of indexing a large collection: ``python benchmarks/indexing.py [ROWS] [--per-file 10] [--no-list]``.

The files are empty and what is measured of them is made up, in the indexing process itself, so that all but decoding is
timed: finding files, joining them with a list, keeping what was measured, writing and opening the manifest. Memory is
the most that this process ever held beyond its imports, mapped pages included. It indexes twice: the second time, the
list is the same and a tenth of the classes are others, so that nothing is measured and the manifest is written anew.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import resource
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avssl.catalog.index import build_index
from avssl.catalog.measuring import Hashing, Row, Span
from avssl.catalog.summary import summarise
from avssl.catalog.table import row_from_info
from avssl.media.info import AudioInfo, VideoInfo
from avssl.media.source import Source

CLASSES = 400
SECONDS = 10.0
FILES_TOGETHER = 10_000  # in a folder


def made_up(place: Path | Source, motion: bool, spans: Sequence[Span], hashing: Hashing) -> list[Row]:
    """Return what a measurement could have found, without opening the file."""
    sound = AudioInfo(rate=16000, channels=1, start=0.0, duration=SECONDS, codec="flac")
    content = hashlib.sha256(os.fsencode(str(place))).digest()
    noise = np.frombuffer(content * 5, np.uint8).astype(np.float16)[:80]
    rows = []
    for span in spans:
        start = 0.0 if span is None or span[0] is None else span[0]
        info = VideoInfo(Path(), SECONDS, 30.0, (128, 176), audio=sound, num_frames=300, codec="h264", start=start)
        row = row_from_info(info)
        rows.append({**row, "motion": noise.tobytes(), "content": content.hex()})
    return rows


def make(folder: Path, rows: int, per_file: int) -> None:
    """Make empty files and a list of their segments, ``list.csv``; with one per file, of the files."""
    files = -(-rows // per_file)
    with open(folder / "list.csv", "w") as table, open(folder / "again.csv", "w") as again:
        for list_ in (table, again):
            list_.write("path,label,name" + (",start,stop\n" if per_file > 1 else "\n"))
        for number in range(files):
            name = f"part_{number // FILES_TOGETHER:04d}/recording_{number:08d}.mp4"
            if number % FILES_TOGETHER == 0:
                (folder / "videos" / name).parent.mkdir(parents=True)
            os.close(os.open(folder / "videos" / name, os.O_CREAT | os.O_WRONLY))
            for segment in range(min(per_file, rows - number * per_file)):
                row = number * per_file + segment
                span = f",{segment * SECONDS},{(segment + 1) * SECONDS}" if per_file > 1 else ""
                table.write(f"{name},class_{row % CLASSES:03d},clip_{row:09d}{span}\n")
                again.write(f"{name},class_{(row + row % 10 // 9) % CLASSES:03d},clip_{row:09d}{span}\n")


class Watch:
    """Peak memory of this process in MB, all and without mapped files, sampled while a block runs."""

    def __enter__(self) -> Watch:
        self.before, self.most, self.anonymous = self._now(), 0.0, 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.05):
            now = self._now()
            self.most = max(self.most, now[0] - self.before[0])
            self.anonymous = max(self.anonymous, now[1] - self.before[1])

    @staticmethod
    def _now() -> tuple[float, float]:
        lines = Path("/proc/self/status").read_text().splitlines()
        size = {line.split(":")[0]: float(line.split()[1]) / 1e3 for line in lines if line.startswith("Rss")}
        return sum(size.values()), size["RssAnon"]


class Here(Executor):
    """Works at once, in this process."""

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **options: Any) -> Future[Any]:
        """Return the finished work."""
        done: Future[Any] = Future()
        done.set_result(function(*arguments, **options))
        return done


def index(folder: Path, listed: bool, results: multiprocessing.Queue) -> None:
    """Index the collection, index it again with other classes, and sum it up."""
    again = {"labels": folder / "again.csv" if listed else "none"}
    first = {"labels": folder / "list.csv" if listed else "folders"}
    for what, labels in (("first", first), ("again", again)):
        cpu, started = time.process_time(), time.perf_counter()
        with Watch() as watch:
            manifest = build_index(
                folder / "videos", folder / "out.parquet", executor=Here(), measure=made_up, **labels
            )
        results.put(
            f"{what}: {len(manifest)} rows in {time.process_time() - cpu:.0f} s of a processor "
            f"({time.perf_counter() - started:.0f} s), at most +{watch.most:.0f} MB, of these {watch.anonymous:.0f} MB "
            f"not of mapped files; fingerprint {manifest.fingerprint[:16]}"
        )
    with Watch() as watch:
        text = summarise(manifest)
    results.put(f"summary of {len(text)} letters: +{watch.most:.0f} MB")
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    results.put(f"the process held {most:.0f} MB at most, imports included")
    results.put(None)


def compare(folder: Path, shares: int) -> None:
    """Index the collection at once, and in shares that are then gathered; the manifests must be the same bytes."""
    videos, labels = folder / "videos", folder / "list.csv"
    build_index(videos, folder / "once.parquet", labels, executor=Here(), measure=made_up)
    for share in range(1, shares + 1):
        build_index(videos, folder / "shared.parquet", labels, executor=Here(), measure=made_up, shard=(share, shares))
    build_index(videos, folder / "shared.parquet", labels, executor=Here(), measure=made_up)
    same = (folder / "once.parquet").read_bytes() == (folder / "shared.parquet").read_bytes()
    print(f"{shares} shares and one run give {'the same bytes' if same else 'DIFFERENT manifests'}")


def main() -> None:
    """Make the collection, and index it in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="?", type=int, default=1_000_000)
    parser.add_argument("--per-file", type=int, default=10, help="segments of each file; 1 for whole files")
    parser.add_argument("--folder", type=Path, help="where to put the files (default: a temporary folder)")
    parser.add_argument("--shares", type=int, help="compare a run with so many shares instead")
    parser.add_argument("--no-list", action="store_true", help="classes by folder instead of a list")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        os.environ["XDG_CACHE_HOME"] = name
        make(folder, options.rows, options.per_file)
        if options.shares:
            compare(folder, options.shares)
            return
        context = multiprocessing.get_context("spawn")
        results = context.Queue()
        process = context.Process(target=index, args=(folder, not options.no_list, results))
        process.start()
        for line in iter(results.get, None):
            print(line, flush=True)
        process.join()


if __name__ == "__main__":
    main()
