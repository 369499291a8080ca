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

import avssl
from avssl.avsync.card import write_card
from avssl.avsync.hffolder import FOLDER, write_folder
from avssl.avsync.lmdbfolder import DATABASES, write_databases
from avssl.avsync.metadata import columns_of
from avssl.avsync.options import Options, Pack
from avssl.avsync.packing_people import People
from avssl.avsync.placing import link_all, write_manifests
from avssl.avsync.shards import IN_NOTES, write_shards
from avssl.avsync.sources import Source
from avssl.avsync.splits import SPLITS, rule_of, split_of, trials_of
from avssl.avsync.store import Record, Store
from avssl.avsync.tables import CLIPS, FIELDS, SOURCES, with_text, write_table
from avssl.catalog.measuring import thawed
from avssl.media.regions import WHOLE, note_region, noted_region
from avssl.runtime.files import digest_of, write_text

WORK = ".work"  # holds the store


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
    columns = columns_of(
        (name for source in sources for name, _ in source.about), (*CLIPS.names, *SOURCES.names, *IN_NOTES)
    )
    rule = rule_of(out)
    rows, clips, places, trials = [], [], {}, []
    people = People()
    for source, content, outcome in zip(sources, contents, outcomes, strict=True):
        split, fps = split_of(source, options.split, rule), Fraction(*outcome.get("fps", (25, 1)))
        for clip in outcome["clips"]:
            entry = {name: clip.get(name) for name in FIELDS}
            entry |= {"source": source.name, "split": split, "clip": None}
            entry |= {columns[name]: value for name, value in source.about}
            entry |= {name: float(clip[name] / fps) for name in ("start", "stop")}
            if "key" in clip:
                name = f"{content['content'][:16]}-{clip['start']:06d}-{clip['stop']:06d}"
                entry["clip"] = path = f"clips/{name[:2]}/{name}.mp4"
                places[path] = store.path("clips", clip["key"], ".mp4")
                row = {**thawed(clip["row"]), "root": ".", "path": path}
                rows.append((split, row | {"label": source.label, "group": source.group}))
                if split == "test":
                    trials += trials_of(path, row["frames"], fps, options.split)
            people.add(entry, clip, outcome, store, source)
            clips.append(entry)
    table = [_about(*about, options, rule) for about in zip(sources, contents, outcomes, strict=True)]
    for entry, source in zip(table, sources, strict=True):
        entry |= {columns[name]: value for name, value in source.about}
    more = [*columns.values()]
    kept = [entry for entry in clips if entry["clip"]]

    link_all(places, out, "clips")
    write_manifests(rows, [entry for entry in table if entry["status"] == "rejected"], out)
    write_table(clips, with_text(CLIPS, more), out / "clips.parquet")
    write_table(table, with_text(SOURCES, more), out / "sources.parquet")
    people.write(out, options)
    write_text(out / "fixed_offsets.csv", _csv(("clip", "start", "offset"), trials))
    folders = {source.local.parent for source in sources if source.local is not None}
    regions = {noted_region(folder) for folder in folders}
    note_region(out, *regions if len(regions) == 1 else (WHOLE,))
    _write_form(out, kept, {row["path"]: row for _, row in rows}, options.pack, more)
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
    write_card(out, table, clips, {**summary, "digest": digest}, people)
    by_split = {split: summary["clips"][split] for split in SPLITS}
    return Packed(out, by_split, summary["seconds"], summary["dropped"], len(trials), digest)


def _write_form(out: Path, kept: Sequence[Record], rows: dict[str, Record], options: Pack, more: Sequence[str]) -> None:
    """Write the dataset in the form asked for, and remove those of earlier builds."""
    if options.form == "webdataset":
        write_shards(out, kept, rows, options, more)
    elif options.form == "huggingface":
        write_folder(out, kept, rows, more)
    elif options.form == "lmdb":
        write_databases(out, kept, rows, options, more)
    for form, folder in (("webdataset", "shards"), ("huggingface", FOLDER), ("lmdb", DATABASES)):
        if options.form != form:
            shutil.rmtree(out / folder, ignore_errors=True)


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
