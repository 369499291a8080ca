"""A folder that ``load_dataset`` of HF datasets opens: videos by split, and a line about each."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from avssl.avsync.splits import SPLITS
from avssl.avsync.store import Record
from avssl.avsync.tables import with_text, write_table
from avssl.runtime.files import room_in

FOLDER = "huggingface"  # in the dataset's folder, whose tables ``load_dataset`` would take for the data
METADATA = "metadata.parquet"  # of each split; text would leave the type of a column that is empty in one open
IN_CLIP = pa.schema(
    [("source", pa.string())]
    + [(name, pa.float64()) for name in ("start", "stop", "offset", "confidence", "probability", "shift")]
)
IN_ROW = pa.schema(
    [("duration", pa.float64()), ("fps", pa.float64())]
    + [(name, pa.int64()) for name in ("height", "width", "frames", "audio_rate")]
    + [(name, pa.string()) for name in ("sync_grade", "label", "group")]
)


def write_folder(out: Path, clips: Sequence[Record], rows: Mapping[str, Record], more: Sequence[str] = ()) -> None:
    """Write ``huggingface/SPLIT/KEY.mp4``, links if the disk allows it, and ``metadata.parquet`` in each split.

    By the rules of HF datasets, a folder is a ``videofolder`` if videos are the files it mostly has; folders named
    after splits are these, and in each a ``metadata.parquet`` names the files by ``file_name``, relative to itself.

    Args:
        out: the dataset's folder.
        clips: rows of ``clips.parquet`` of the kept clips.
        rows: the manifest's row of each, by its path.
        more: names of metadata in the rows of clips.
    """
    folder = out / FOLDER
    schema = with_text(pa.schema([("file_name", pa.string()), *IN_CLIP, *IN_ROW]), more)
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
            about = {key: clip[key] for key in IN_CLIP.names} | {key: row[key] for key in IN_ROW.names}
            lines.append({"file_name": name, **about, **{key: clip.get(key) for key in more}})
        if lines:
            wanted.add(folder / split / METADATA)
            write_table(lines, schema, folder / split / METADATA)
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
