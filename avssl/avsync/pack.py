"""Packing: clips, manifests, tables, fixed offsets, shards and card of the finished dataset, and its hash."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

import avssl
from avssl.avsync.card import write_card
from avssl.avsync.hffolder import FOLDER, link_or_copy, write_folder
from avssl.avsync.options import Options
from avssl.avsync.shards import write_shards
from avssl.avsync.sources import Source
from avssl.avsync.splits import SPLITS, rule_of, split_of, trials_of
from avssl.avsync.store import Record, Store
from avssl.avsync.tracks import POINTS, boxes_of, load_tracks
from avssl.catalog.manifest import Manifest
from avssl.catalog.measuring import thawed
from avssl.media.regions import WHOLE, note_region, noted_region
from avssl.runtime.files import digest_of, write_atomically, write_text

WORK = ".work"  # holds the store
CLIPS = pa.schema(
    [
        ("clip", pa.string()),  # path in the dataset; null if it was dropped
        ("source", pa.string()),
        ("start", pa.float64()),  # second of the source at which it begins
        ("stop", pa.float64()),
        ("split", pa.string()),
        ("offset", pa.float64()),  # estimate before any shift, seconds; positive: sound is late
        ("confidence", pa.float64()),
        ("probability", pa.float64()),  # that the estimate is within 40 ms of the truth; null without a calibration
        ("decision", pa.string()),  # see `avssl.avsync.decide.Verdict`
        ("faces", pa.int64()),  # number of faces seen in it; null if none were looked for
        ("face_side", pa.float64()),  # side of the largest, in pixels of the normalised picture
        ("shift", pa.float64()),  # seconds by which its sound was moved earlier
        ("shown_late", pa.float64()),  # mean seconds by which its frames are shown later than in the source
        ("shown_late_most", pa.float64()),  # the largest such difference, either way
        ("reason", pa.string()),  # why it was dropped
        ("why", pa.string()),
    ]
)
SOURCES = pa.schema(  # status is "kept" or "rejected"; content: `identity_of`
    [(name, pa.string()) for name in ("source", "status", "reason", "why", "content", "label", "group", "split")]
    + [("clips", pa.int64()), ("duration", pa.float64()), ("fps", pa.float64()), ("vfr", pa.bool_())]
    + [("height", pa.int32()), ("width", pa.int32()), ("codec", pa.string()), ("container", pa.string())]
    + [("audio_rate", pa.int32()), ("audio_codec", pa.string()), ("sync_grade", pa.string())]
    # Seconds: the most by which the sound may be late unsaid (null: unknown); by which it was moved earlier; and by
    # which frames are shown later than in the source, on average and at most, either way.
    + [(name, pa.float64()) for name in ("delay_bound", "delay", "shown_late", "shown_late_most")]
)
TRACKS = pa.schema(  # of kept clips: where each face is, in pixels of the clip's picture
    [("clip", pa.string()), ("track", pa.int64()), ("frame", pa.int64()), ("found", pa.bool_())]
    + [(name, pa.float32()) for name in ("left", "top", "width", "height")]
    + [(f"{point}_{axis}", pa.float32()) for point in POINTS for axis in "xy"]
)
FIELDS = (
    "faces",
    "face_side",
    "offset",
    "confidence",
    "probability",
    "decision",
    "shift",
    "shown_late",
    "shown_late_most",
    "reason",
    "why",
)


@dataclass
class Packed:
    """A dataset on disk."""

    folder: Path
    clips: dict[str, int]  # clips per split
    seconds: float  # of all clips together
    dropped: Counter[str]  # dropped clips, of kept and of rejected sources, per reason
    trials: int  # of the fixed-offset test
    digest: str  # of every file but the card; two datasets with the same hash are the same

    def __str__(self) -> str:
        parts = ", ".join(f"{split} {count}" for split, count in self.clips.items())
        dropped = ", ".join(f"{reason} {count}" for reason, count in self.dropped.most_common()) or "none"
        return (
            f"{sum(self.clips.values())} clips, {self.seconds / 3600:.3g} hours: {parts}; dropped: {dropped}\n"
            f"{self.trials} trials of fixed offsets; hash {self.digest[:16]}; see {self.folder / 'card.html'}"
        )


def pack(
    sources: Sequence[Source], contents: Sequence[Record], outcomes: Sequence[Record], out: Path, options: Options
) -> Packed:
    """Write the dataset from the store's records of each source, made by :func:`identify` and :func:`process`."""
    store = Store(out / WORK)
    rule = rule_of(out)
    rows, clips, places, trials = [], [], {}, []
    tracks: list[Record] = []
    for source, content, outcome in zip(sources, contents, outcomes, strict=True):
        split, fps = split_of(source, options.split, rule), Fraction(*outcome.get("fps", (25, 1)))
        for clip in outcome["clips"]:
            entry = {name: clip.get(name) for name in FIELDS}
            entry |= {"source": source.name, "split": split, "clip": None}
            entry |= {name: float(clip[name] / fps) for name in ("start", "stop")}
            if "key" in clip:
                name = f"{content['content'][:16]}-{clip['start']:06d}-{clip['stop']:06d}"
                entry["clip"] = path = f"clips/{name[:2]}/{name}.mp4"
                if outcome.get("tracks"):
                    own = load_tracks(store.path("tracks", outcome["tracks"], ".npz"))
                    tracks += boxes_of(path, own, clip["start"], clip["stop"])
                places[path] = store.path("clips", clip["key"], ".mp4")
                row = {**thawed(clip["row"]), "root": ".", "path": path}
                rows.append((split, row | {"label": source.label, "group": source.group}))
                if split == "test":
                    trials += trials_of(path, row["frames"], fps, options.split)
            clips.append(entry)
    table = [_about(*about, options, rule) for about in zip(sources, contents, outcomes, strict=True)]
    kept = [entry for entry in clips if entry["clip"]]

    _link(places, out)
    _manifests(rows, [entry for entry in table if entry["status"] == "rejected"], out)
    _table(clips, CLIPS, out / "clips.parquet")
    _table(table, SOURCES, out / "sources.parquet")
    if options.faces.model is None:
        (out / "tracks.parquet").unlink(missing_ok=True)
    else:
        _table(tracks, TRACKS, out / "tracks.parquet")
    write_text(out / "fixed_offsets.csv", _csv(("clip", "start", "offset"), trials))
    folders = {source.local.parent for source in sources if source.local is not None}
    regions = {noted_region(folder) for folder in folders}
    note_region(out, *regions if len(regions) == 1 else (WHOLE,))
    if options.pack.form == "webdataset":
        write_shards(out, kept, {row["path"]: row for _, row in rows}, options.pack)
    else:
        shutil.rmtree(out / "shards", ignore_errors=True)
    if options.pack.form == "huggingface":
        write_folder(out, kept, {row["path"]: row for _, row in rows})
    else:
        shutil.rmtree(out / FOLDER, ignore_errors=True)
    summary = {
        "avssl": avssl.__version__,
        "options": json.loads(json.dumps(asdict(options), default=os.fspath)),
        "sources": Counter(entry["reason"] or "kept" for entry in table),
        "clips": Counter(entry["split"] for entry in kept),
        "dropped": Counter(entry["reason"] for entry in clips if not entry["clip"]),
        "seconds": sum(entry["stop"] - entry["start"] for entry in kept),
        "splits": rule,
        "trials": len(trials),
        "offset": "seconds; positive where the sound is late relative to the picture",
    }
    digest = _digest(out)
    write_text(out / "dataset.json", json.dumps({**summary, "digest": digest}, indent=1, sort_keys=True) + "\n")
    write_card(out, table, clips, {**summary, "digest": digest})
    by_split = {split: summary["clips"][split] for split in SPLITS}
    return Packed(out, by_split, summary["seconds"], summary["dropped"], len(trials), digest)


def _about(source: Source, content: Record, outcome: Record, options: Options, rule: str) -> Record:
    """Return a row of the table of sources."""
    return {
        **outcome["facts"],
        "source": source.name,
        "status": "rejected" if "reason" in outcome else "kept",
        "reason": outcome.get("reason"),
        "why": outcome.get("why"),
        "content": content.get("content"),
        "label": source.label,
        "group": source.group,
        "split": split_of(source, options.split, rule),
        "clips": sum("key" in clip for clip in outcome["clips"]),
    }


def _link(places: dict[str, Path], out: Path) -> None:
    """Put the clips in place, as hard links if the disk allows it, and remove others."""
    for path, place in places.items():
        target = out / path
        if target.exists() and os.path.samefile(target, place):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        link_or_copy(place, target)
    for folder in sorted((out / "clips").glob("*")):
        for file in folder.iterdir():
            if file.relative_to(out).as_posix() not in places:
                file.unlink()
        if not any(folder.iterdir()):
            folder.rmdir()


def _manifests(rows: Sequence[tuple[str, Record]], rejected: Sequence[Record], out: Path) -> None:
    """Write ``videos.parquet`` and one manifest per split, each of which ``--data.root`` takes."""
    bad = []
    for entry in rejected:
        root, _, path = entry["source"].rpartition("/")
        reason = f"{entry['reason']}: {entry['why']}"
        bad.append({"root": root, "path": path, "status": "rejected", "reason": reason})
    Manifest.from_rows([row for _, row in rows] + bad, base=out).write(out / "videos.parquet")
    for split in SPLITS:
        Manifest.from_rows([row for own, row in rows if own == split], base=out).write(out / f"{split}.parquet")


def _table(entries: Sequence[Record], schema: pa.Schema, path: Path) -> None:
    table = pa.table([pa.array([entry.get(f.name) for entry in entries], f.type) for f in schema], schema=schema)
    write_atomically(path, lambda file: pq.write_table(table, file, compression="zstd"))


def _csv(heading: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heading)
    writer.writerows([f"{value:.6g}" if isinstance(value, float) else value for value in line] for line in lines)
    return text.getvalue()


def _digest(out: Path) -> str:
    """Return a hash of the paths and contents of all files but the card and the file that holds the hash."""
    digest = hashlib.sha256()
    parts = [part for part in out.iterdir() if part.name not in (WORK, "card.html", "dataset.json")]
    files = [file for part in parts for file in (part.rglob("*") if part.is_dir() else [part]) if file.is_file()]
    for name, path in sorted((file.relative_to(out).as_posix(), file) for file in files):
        digest.update(f"{name} {digest_of(path)}\n".encode())
    return digest.hexdigest()
