"""Clips in tar files, as webdataset reads them, and the statistics of each."""

from __future__ import annotations

import io
import json
import tarfile
import wave
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import av
import numpy as np

from avssl.avsync.options import Pack
from avssl.avsync.splits import SPLITS
from avssl.avsync.store import Record, key_of
from avssl.catalog.encode import pieces
from avssl.catalog.packing import add_member
from avssl.catalog.table import info_from_row
from avssl.media import open_video
from avssl.runtime.files import digest_of, write_atomically, write_text

IN_JSON = ("source", "start", "stop", "split", "offset", "confidence", "shift")
IN_JSON_OF_ROW = ("duration", "fps", "height", "width", "frames", "audio_rate", "sync_grade", "label", "group")
IN_NOTES = (*IN_JSON, *IN_JSON_OF_ROW, "key")


def write_shards(
    out: Path, clips: Sequence[Record], rows: Mapping[str, Record], options: Pack, more: Sequence[str] = ()
) -> None:
    """Write ``shards/SPLIT-NNNNNN.tar`` and, beside each, ``.json`` with its statistics.

    A sample is ``KEY.mp4`` (picture and sound), ``KEY.flac`` or ``.wav`` (the same sound by itself) and ``KEY.json``.
    Clips lie in the order of their keys, which are hashes, so neighbours come from different sources. An existing shard
    of the same clips is kept; others are removed.

    Args:
        out: the dataset's folder.
        clips: rows of ``clips.parquet`` of the kept clips.
        rows: the manifest's row of each, by its path.
        options: form of the dataset.
        more: names of metadata in the rows of clips.
    """
    folder = out / "shards"
    folder.mkdir(exist_ok=True)
    written = set()
    for split in SPLITS:
        mine = sorted((clip for clip in clips if clip["split"] == split), key=lambda clip: Path(clip["clip"]).name)
        for number, start in enumerate(range(0, len(mine), options.clips_per_shard)):
            members = mine[start : start + options.clips_per_shard]
            path = folder / f"{split}-{number:06d}.tar"
            written |= {path, path.with_suffix(".json")}
            _write_shard(path, out, members, rows, options.sound, more)
    for path in folder.iterdir():
        if path not in written:
            path.unlink()


def _write_shard(
    path: Path, out: Path, clips: Sequence[Record], rows: Mapping[str, Record], sound: str, more: Sequence[str]
) -> None:
    notes = [note_of(clip, rows[clip["clip"]], more) for clip in clips]
    contents = [rows[clip["clip"]]["content"] for clip in clips]
    made_of = key_of("shard 1", notes, contents, sound)
    statistics = path.with_suffix(".json")
    if path.is_file() and statistics.is_file():
        before = json.loads(statistics.read_bytes())
        if (before["made_of"], before["bytes"]) == (made_of, path.stat().st_size):
            return

    def write(file: IO[bytes]) -> None:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for clip, note in zip(clips, notes, strict=True):
                media = out / clip["clip"]
                parts = {"mp4": media.read_bytes(), sound: sound_of(media, rows[clip["clip"]], sound)}
                parts["json"] = json.dumps(note, sort_keys=True).encode()
                for kind, content in parts.items():
                    add_member(tar, f"{media.stem}.{kind}", io.BytesIO(content), len(content))

    write_atomically(path, write)
    facts = {"made_of": made_of, "bytes": path.stat().st_size, **_statistics(notes), "sha256": digest_of(path)}
    write_text(statistics, json.dumps(facts, indent=1, sort_keys=True) + "\n")


def note_of(clip: Record, row: Record, more: Sequence[str]) -> Record:
    """Return what is written beside a clip, from its rows in the table of clips and in the manifest."""
    note = {name: clip[name] for name in IN_JSON} | {name: row[name] for name in IN_JSON_OF_ROW}
    return note | {"key": Path(clip["clip"]).stem} | {name: clip.get(name) for name in more}


def _statistics(notes: Sequence[Record]) -> Record:
    offsets = [note["offset"] for note in notes if note["offset"] is not None]
    return {
        "clips": len(notes),
        "sources": len({note["source"] for note in notes}),
        "seconds": sum(note["duration"] for note in notes),
        "labels": Counter(note["label"] or "" for note in notes),
        "realigned": sum(note["shift"] != 0 for note in notes),
        "offset_median": float(np.median(offsets)) if offsets else None,
    }


def sound_of(media: Path, row: Record, form: str) -> bytes:
    """Return the sound of a clip as a file of its own."""
    info = info_from_row({**row, "label": None, "view": None, "path": media.name}, media.parent, {})
    rate = row["audio_rate"]
    with open_video(media, "pyav", info) as reader:
        samples = reader.audio(0.0, info.duration, rate).samples
    file = io.BytesIO()
    if form == "wav":
        with wave.open(file, "wb") as wav:
            wav.setparams((1, 2, rate, 0, "NONE", ""))  # mono, 16 bits
            for frame in pieces(samples, rate):
                wav.writeframes(frame.to_ndarray().tobytes())
    else:
        with av.open(file, "w", format="flac") as out:
            stream: Any = out.add_stream("flac", rate=rate, layout="mono", format="s16")
            for frame in pieces(samples, rate):
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
    return file.getvalue()
