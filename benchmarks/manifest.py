"""Time to open a large manifest, and its memory in each worker: ``python benchmarks/manifest.py [ROWS]``.

Every figure comes from a process of its own. Memory is resident memory, including shared pages of the mapped file, in
excess of the process's after its imports.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from avssl.catalog.manifest import Manifest
from avssl.catalog.table import SCHEMA, canonical, row_from_info
from avssl.media.info import AudioInfo, VideoInfo

ITEMS = 10_000
TOGETHER = 1_000_000  # rows made at a time


def made_up(rows: int) -> pa.Table:
    """Return a manifest table of ten-second segments in 400 classes, ten of each file."""
    sound = AudioInfo(rate=16000, channels=1, start=0.0, duration=100.0, codec="flac")
    info = VideoInfo(Path(), 10.0, 30.0, (128, 176), audio=sound, num_frames=300, codec="h264", sync_grade="exact")
    same = row_from_info(info) | {"root": "/data/kinetics", "reader": "avssl", "size_bytes": 1, "mtime_ns": 1}
    parts = [part_of(same, start, min(rows, start + TOGETHER)) for start in range(0, rows, TOGETHER)]
    return canonical(pa.concat_tables(parts), Path("made up"))


def part_of(same: dict[str, Any], start: int, stop: int) -> pa.Table:
    """Return the rows of some segments."""
    number, file = (np.arange(start, stop) // divisor for divisor in (1, 10))
    columns = {
        name: pa.repeat(pa.scalar(same.get(name), SCHEMA.field(name).type), len(number)) for name in SCHEMA.names
    }
    label = joined("class_", number % 400)
    noise = np.random.default_rng(start).random((len(number), 80), np.float32).astype(np.float16)
    offsets = pa.py_buffer(np.arange(0, noise.nbytes + 1, 160, dtype=np.int64))
    columns["motion"] = pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), len(number), [None, offsets, pa.py_buffer(noise)]
    )
    columns["path"] = columns["group"] = joined("class_000/recording_", file, ".mp4")
    columns["name"] = joined("recording_", number)
    columns["labels"] = pa.ListArray.from_arrays(np.arange(len(number) + 1, dtype=np.int32), label)
    columns["content"] = joined("0" * 56, file + 10_000_000)
    begin = number % 10 * 10.0
    asked = np.stack([begin, begin + 10], 1).reshape(-1)
    columns["start"] = pa.array(begin)
    columns["asked"] = pa.ListArray.from_arrays(np.arange(0, len(asked) + 1, 2, dtype=np.int32), asked)
    return pa.table([columns[name].cast(SCHEMA.field(name).type) for name in SCHEMA.names], schema=SCHEMA)


def joined(before: str, numbers: np.ndarray, after: str = "") -> pa.Array:
    """Return texts that differ in a number."""
    return pc.binary_join_element_wise(before, pa.array(numbers).cast(pa.string()), after, "")


def resident() -> float:
    """Return the resident memory of this process in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def opened(path: Path, results: multiprocessing.Queue) -> None:
    """Open the manifest and read some items, as the main process does."""
    before, started = resident(), time.perf_counter()
    manifest = Manifest.open(path)
    results.put((len(manifest), time.perf_counter() - started, resident() - before, *read_items(manifest, before)))


def received(pickled: bytes, results: multiprocessing.Queue) -> None:
    """Unpickle the manifest and read some items, as a worker of a data loader does."""
    before, started = resident(), time.perf_counter()
    manifest = pickle.loads(pickled)
    results.put((len(manifest), time.perf_counter() - started, resident() - before, *read_items(manifest, before)))


def read_items(manifest: Manifest, before: float) -> tuple[float, float]:
    """Return microseconds per item and the peak MB beyond ``before`` while reading random items."""
    draw = random.Random(0)
    most, started = 0.0, time.perf_counter()
    for number in range(ITEMS):
        manifest[draw.randrange(len(manifest))]
        if number % 37 == 0:
            most = max(most, resident())
    return (time.perf_counter() - started) / ITEMS * 1e6, most - before


def main() -> None:
    """Write, convert, and measure each way of opening in a process of its own."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        path = Path(folder, "videos.parquet")
        Manifest(made_up(rows), path.parent).write(path)
        started = time.perf_counter()
        manifest = Manifest.open(path)
        first = time.perf_counter() - started
        print(f"{rows} rows, {path.stat().st_size / 1e6:.0f} MB of Parquet; first opening (conversion) {first:.2f} s")
        half = manifest.select(np.arange(0, rows, 2))
        context = multiprocessing.get_context("spawn")
        results = context.Queue()
        kinds = [
            ("opened", opened, path),
            ("in a worker", received, pickle.dumps(manifest)),
            ("half, in a worker", received, pickle.dumps(half)),
        ]
        for name, target, argument in kinds:
            process = context.Process(target=target, args=(argument, results))
            process.start()
            count, seconds, memory, microseconds, memory_after = results.get()
            process.join()
            print(
                f"{name}: {count} videos in {seconds * 1e3:.1f} ms, +{memory:.1f} MB; "
                f"{ITEMS} random items at {microseconds:.0f} us each, at most +{memory_after:.1f} MB"
            )


if __name__ == "__main__":
    main()
