"""A folder that ``load_dataset`` of HF datasets opens: videos by split, and a line about each."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from avssl.avsync.splits import SPLITS
from avssl.avsync.store import Record
from avssl.runtime.files import room_in, write_text

FOLDER = "huggingface"  # in the dataset's folder, whose tables ``load_dataset`` would take for the data
IN_CLIP = ("source", "start", "stop", "offset", "confidence", "probability", "shift")
IN_ROW = ("duration", "fps", "height", "width", "frames", "audio_rate", "sync_grade", "label", "group")


def write_folder(out: Path, clips: Sequence[Record], rows: Mapping[str, Record]) -> None:
    """Write ``huggingface/SPLIT/KEY.mp4``, links if the disk allows it, and ``metadata.jsonl`` in each split.

    By the rules of HF datasets, a folder is a ``videofolder`` if videos are the files it mostly has; folders named
    after splits are these, and in each a ``metadata.jsonl`` names the files by ``file_name``, relative to itself.

    Args:
        out: the dataset's folder.
        clips: rows of ``clips.parquet`` of the kept clips.
        rows: the manifest's row of each, by its path.
    """
    folder = out / FOLDER
    wanted = set()
    for split in SPLITS:
        mine = sorted((clip for clip in clips if clip["split"] == split), key=lambda clip: Path(clip["clip"]).name)
        lines = []
        for clip in mine:
            name, row = Path(clip["clip"]).name, rows[clip["clip"]]
            target = folder / split / name
            wanted.add(target)
            if not (target.exists() and os.path.samefile(target, out / clip["clip"])):
                link_or_copy(out / clip["clip"], target)
            about = {key: clip[key] for key in IN_CLIP} | {key: row[key] for key in IN_ROW}
            lines.append(json.dumps({"file_name": name, **about}) + "\n")
        if lines:
            wanted.add(folder / split / "metadata.jsonl")
            write_text(folder / split / "metadata.jsonl", "".join(lines))
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir():
            if not any(path.iterdir()):
                path.rmdir()
        elif path not in wanted:
            path.unlink()


def link_or_copy(place: Path, target: Path) -> None:
    """Make ``target`` a hard link to a file, or a copy where the disk has no links, replacing what is there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    partial.unlink(missing_ok=True)
    with room_in(target.parent):
        try:
            os.link(place, partial)
        except OSError:
            shutil.copyfile(place, partial)
        os.replace(partial, target)
