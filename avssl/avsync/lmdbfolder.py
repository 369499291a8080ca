"""Clips in LMDB, a database per split."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from avssl.avsync.options import Pack
from avssl.avsync.shards import note_of, sound_of
from avssl.avsync.splits import SPLITS
from avssl.avsync.store import Record, key_of
from avssl.runtime.files import growing, write_text

DATABASES = "lmdb"  # folder
KEYS = b"__keys__"  # entry that lists the clips
PAGE, SPARE = 4096, 64  # bytes, and pages beside those of the entries
MISSING = "lmdb isn't installed: `pip install 'avssl[lmdb]'`, or another --pack.form"


def check_lmdb() -> None:
    """Raise a ValueError that says what to do if the library isn't installed."""
    if importlib.util.find_spec("lmdb") is None:
        raise ValueError(MISSING)


def write_databases(
    out: Path, clips: Sequence[Record], rows: Mapping[str, Record], options: Pack, more: Sequence[str] = ()
) -> None:
    """Write ``lmdb/SPLIT.lmdb``, one file each, to be opened with ``subdir=False, lock=False, readonly=True``.

    Entries are those of a shard's samples: ``KEY.mp4`` (picture and sound), ``KEY.flac`` or ``.wav`` and ``KEY.json``;
    and ``__keys__``, a JSON list of the keys. An existing database of the same clips is kept. The arguments are those
    of :func:`avssl.avsync.shards.write_shards`.
    """
    folder = out / DATABASES
    folder.mkdir(exist_ok=True)
    for split in SPLITS:
        mine = sorted((clip for clip in clips if clip["split"] == split), key=lambda clip: Path(clip["clip"]).name)
        path, about = folder / f"{split}.lmdb", folder / f"{split}.json"
        notes = [note_of(clip, rows[clip["clip"]], more) for clip in mine]
        made_of = key_of("lmdb 1", notes, [rows[clip["clip"]]["content"] for clip in mine], options.sound)
        facts = {"made_of": made_of, "clips": len(mine)}
        if path.is_file() and about.is_file() and json.loads(about.read_bytes()) == facts:
            continue
        about.unlink(missing_ok=True)
        _write(path, out, mine, rows, notes, options.sound)
        write_text(about, json.dumps(facts, indent=1, sort_keys=True) + "\n")


def _write(
    path: Path, out: Path, clips: Sequence[Record], rows: Mapping[str, Record], notes: Sequence[Record], sound: str
) -> None:
    import lmdb

    sizes = [(out / clip["clip"]).stat().st_size for clip in clips]
    texts = [json.dumps(note, sort_keys=True).encode() for note in notes]
    seconds = sum(note["duration"] * note["audio_rate"] for note in notes)
    room = 2 * sum(sizes) + 4 * round(seconds) + sum(map(len, texts)) + PAGE * (SPARE + 8 * len(clips))  # upper bound
    with (
        growing(path) as partial,
        lmdb.open(str(partial), map_size=room // PAGE * PAGE, subdir=False, lock=False) as database,
        database.begin(write=True) as writing,
    ):
        for clip, text in zip(clips, texts, strict=True):
            media = out / clip["clip"]
            writing.put(f"{media.stem}.mp4".encode(), media.read_bytes())
            writing.put(f"{media.stem}.{sound}".encode(), sound_of(media, rows[clip["clip"]], sound))
            writing.put(f"{media.stem}.json".encode(), text)
        writing.put(KEYS, json.dumps([note["key"] for note in notes]).encode())
