"""Training-ready copies in tar archives, in the order of their sources, each with a note of what is known of it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

from avssl.runtime.files import CHUNK, Journal, growing, write_atomically

SHARDS = "shards"  # folder of the archives
UNPACKED = ".unpacked"  # folder of copies that are in no archive yet
VERSION = 1  # of archives: raise it when the same copies give another archive
Note = dict[str, Any]


class Held(NamedTuple):
    """Where a copy is: the archive, the member's name, its first byte, its length in bytes and its SHA-256."""

    archive: str
    member: str
    offset: int
    bytes: int
    content: str


class Copy(NamedTuple):
    """A copy to pack: its path below the folder of copies, SHA-256 and size in bytes, and what is known of it."""

    path: str
    content: str
    bytes: int
    note: Note


class Shards:
    """The archives of a preparation, and where each copy is: loose at first, then in one of them.

    Archives follow from the copies, their order and the size alone. One that is as it should be is kept. Before any
    other is replaced, its copies become files again, so that a stop at any moment loses none.

    Args:
        out: folder of the preparation.
        size: most bytes of recordings of an archive; a larger copy has one of its own.
        journal: the preparation's open journal.
    """

    def __init__(self, out: Path, size: int, journal: Journal) -> None:
        self.folder, self.loose, self.size, self.journal = out / SHARDS, out / UNPACKED, size, journal

    def held(self) -> dict[str, Held]:
        """Return where each packed copy is, by its path; archives that were changed hold none."""
        found: dict[str, Held] = {}
        for name, entry in self.journal.entries.items():
            if "members" in entry and _facts(Path(name)) == entry["facts"]:
                found |= {path: Held(name, *place) for path, place in entry["members"].items()}
        return found

    def pack(self, copies: Sequence[Copy]) -> dict[str, Held]:
        """Write the archives, and return where each copy is."""
        plan = {self.folder / f"{number:05d}.tar": part for number, part in enumerate(_parts(copies, self.size))}
        todo = {path: part for path, part in plan.items() if not self._is_current(path, part)}
        kept = {path for part in todo.values() for path in (copy.path for copy in part)}
        for path, held in self.held().items():
            if path in kept and not (self.loose / path).is_file():
                self._unpack(path, held)
        for archive, part in todo.items():
            self._write(archive, part)
        for other in self.folder.glob("*.tar"):
            if other not in plan:
                other.unlink()
        for copy in copies:
            (self.loose / copy.path).unlink(missing_ok=True)
        _prune(self.loose)
        return self.held()

    def _is_current(self, path: Path, part: Sequence[Copy]) -> bool:
        entry = self.journal.entries.get(os.fspath(path))
        return entry is not None and entry["made_of"] == _made_of(part) and entry["facts"] == _facts(path)

    def _unpack(self, path: str, held: Held) -> None:
        row = self.journal.entries[os.fspath(self.loose / path)]["row"]
        with growing(self.loose / path) as partial, open(held.archive, "rb") as archive, open(partial, "wb") as file:
            archive.seek(held.offset)
            for start in range(0, held.bytes, CHUNK):
                file.write(archive.read(min(CHUNK, held.bytes - start)))
            file.flush()
            os.utime(partial, ns=(row["mtime_ns"], row["mtime_ns"]))  # the journal knows the copy by it

    def _write(self, path: Path, part: Sequence[Copy]) -> None:
        members = {}

        def write(file: IO[bytes]) -> None:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
                for copy, key in zip(part, _keys(part), strict=True):
                    with open(self.loose / copy.path, "rb") as media:
                        add_member(tar, f"{key}.mp4", media, copy.bytes)
                    begin = tar.offset - _padded(copy.bytes)
                    members[copy.path] = [f"{key}.mp4", begin, copy.bytes, copy.content]
                    note = json.dumps({**copy.note, "content": copy.content}, sort_keys=True).encode()
                    add_member(tar, f"{key}.json", io.BytesIO(note), len(note))

        write_atomically(path, write)
        entry = {"made_of": _made_of(part), "facts": _facts(path), "members": members}
        self.journal.append(os.fspath(path), entry)


def packed(rows: Sequence[Mapping[str, Any]], shards: Shards) -> list[dict[str, Any]]:
    """Pack the copies of a manifest's rows, and return the rows of their members, with the archives' size and time."""
    together: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        together.setdefault(row["path"], []).append(row)
    copies = [
        Copy(path, every[0]["content"], every[0]["size_bytes"], note_of(every)) for path, every in together.items()
    ]
    held = shards.pack(copies)
    facts = {place.archive: _facts(Path(place.archive)) for place in held.values()}
    found = []
    for row in rows:
        place = held[row["path"]]
        size, time = facts[place.archive] or (None, None)
        where = {"path": f"{SHARDS}/{Path(place.archive).name}", "size_bytes": size, "mtime_ns": time}
        found.append({**row, **where, "member": place.member, "offset": place.offset, "bytes": place.bytes})
    return found


def add_member(tar: tarfile.TarFile, name: str, content: IO[bytes], num_bytes: int) -> None:
    """Add a file of user 0 and year 1970: the archive's bytes are the same whoever packs it, and when."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = num_bytes, 0o644
    tar.addfile(member, content)


def note_of(rows: Sequence[Mapping[str, Any]]) -> Note:
    """Return what all rows of a manifest that share a copy say of it: ``label``, ``labels``, ``group``, and so on.

    ``label`` is the only class that they show, if it is one. Names of several rows are in ``names``.
    """
    shown = [row["labels"] for row in rows if row["labels"] is not None]
    labels = sorted({name for names in shown for name in names}) if shown else None
    names = [row["name"] for row in rows if row["name"] is not None]
    return {
        "label": labels[0] if labels is not None and len(labels) == 1 else None,
        "labels": labels,
        "group": next((row["group"] for row in rows if row["group"] is not None), None),
        "view": next((row["view"] for row in rows if row["view"] is not None), None),
        "name": names[0] if len(names) == 1 else None,
        **({"names": names} if len(names) > 1 else {}),
    }


def _parts(copies: Sequence[Copy], size: int) -> Iterator[list[Copy]]:
    part: list[Copy] = []
    total = 0
    for copy in copies:
        if part and total + copy.bytes > size:
            yield part
            part, total = [], 0
        part.append(copy)
        total += copy.bytes
    if part:
        yield part


def _keys(part: Sequence[Copy]) -> list[str]:
    """Return a name without dots for each copy, as webdataset takes what follows the first dot for the ending."""
    keys: list[str] = []
    seen: set[str] = set()
    for copy in part:
        path = PurePosixPath(copy.path).with_suffix("")
        key = path.with_name(path.name.replace(".", "_")).as_posix()
        if key in seen:
            key += f"-{hashlib.sha256(os.fsencode(copy.path)).hexdigest()[:16]}"
        seen.add(key)
        keys.append(key)
    return keys


def _made_of(part: Sequence[Copy]) -> str:
    return hashlib.sha256(json.dumps([VERSION, *map(list, part)], sort_keys=True).encode()).hexdigest()


def _facts(path: Path) -> list[int] | None:
    """Return the size and the modification time of an archive; None if there is none."""
    try:
        facts = path.stat()
    except FileNotFoundError:
        return None
    return [facts.st_size, facts.st_mtime_ns]


def _padded(num_bytes: int) -> int:
    return -(-num_bytes // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _prune(folder: Path) -> None:
    """Remove empty folders."""
    for place, _, _ in os.walk(folder, topdown=False):
        if not os.listdir(place):
            os.rmdir(place)
