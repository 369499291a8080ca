"""The members of a tar archive, found by its headers alone: nothing is unpacked, and no content is read.

An archive is refused as a whole, with the place and the reason, if it leaves any doubt about where its members lie.
Members that are no files with contents of their own, or whose names could lead out of a folder, are passed over and
counted.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from avssl.media.errors import MediaError
from avssl.media.source import Source, names_inside
from avssl.media.tarheader import BLOCK, Header, parse_header, parse_pax, pax_size
from avssl.media.window import Range

SIDECARS = ("json", "cls", "txt")
_LONGEST = {"x": 2**20, "g": 2**20, "L": 2**13, "K": 2**13}  # bytes of headers that extend others, by kind
_EMPTY = "123456V"  # kinds without data: links, devices, folders, pipes, the archive's label
_PASSED = {"1": "link", "2": "link", "3": "device", "4": "device", "6": "pipe"}  # folders and labels are as expected
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_PADDING = 2**20  # zeros that may follow the last member; tar pads to 10 kB, or as told
_SIDECAR = 10**6  # bytes
_TOGETHER = 1000  # members of one sample
_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
    b"PK\x03\x04": "zip",
}


class Member(NamedTuple):
    """A file in an archive: its name with forward slashes, its first byte and its length."""

    name: str
    offset: int
    num_bytes: int

    def source(self, archive: Source) -> Source:
        """Return where the member's bytes are, given the source of its archive."""
        start = archive.offset + self.offset
        return replace(archive, member=self.name, offset=start, num_bytes=self.num_bytes, mtime_ns=None)


class Sample(NamedTuple):
    """Members that belong together: a recording and what is known about it.

    Attributes:
        key: what their names share, up to the first dot of the last part; as in webdataset.
        parts: each member by the rest of its name, in lower case: ``"mp4"``, ``"json"``.
    """

    key: str
    parts: dict[str, Member]


@dataclass
class _Pending:
    """What extending headers say about the next member."""

    name: bytes | None = None
    records: dict[str, bytes] | None = None
    anything: bool = False


def members(archive: Range, place: str, passed: Counter[str] | None = None) -> Iterator[Member]:
    """Yield the files of an archive in their order. Keep none before the last one has come: the end is checked as well.

    Args:
        archive: its bytes, from the first to the last.
        place: its path or address, for messages.
        passed: counts the members passed over, by reason: ``"link"``, ``"device"``, ``"pipe"``, ``"empty"`` (no
            bytes), ``"name"`` (absolute, with ``..`` or an empty part, not UTF-8, with control characters).

    Raises:
        MediaError: ``tar``, with the byte and the reason: compressed; sparse; a checksum that is wrong; a size that is
            negative or beyond the end; two sizes or names for one member, or one name for two; extensions of unknown
            meaning; no zeros at the end, or something after them.
        SourceError: if it can't be read now.
    """
    passed = Counter() if passed is None else passed
    names: set[str] = set()
    pending = _Pending()
    at = 0  # of the header
    while True:
        try:
            block = archive.pread(BLOCK, at) if at < archive.size else b""
            if at == 0:
                _check_plain(block)
            if len(block) < BLOCK:
                raise ValueError("it ends without the zeros that close an archive, so it was cut off")
            if not any(block):
                _check_end(archive, at, pending)
                return
            header = parse_header(block)
            kind = header.kind.decode("latin-1")
            size = pax_size(pending.records or {}, header)
            first = at + BLOCK
            if size > archive.size - first:
                raise ValueError(f"a member of {size} bytes begins here, but only {archive.size - first} follow")
            if kind in _LONGEST:
                if size > _LONGEST[kind]:
                    raise ValueError(f"a header of {size} bytes")
                _extend(pending, kind, archive.pread(size, first))
            elif header.regular or header.kind == b"\0" or kind in _EMPTY:
                reason, name = _examined(header, size, pending)
                if reason:
                    passed[reason] += 1
                elif name is not None:
                    if name in names:
                        raise ValueError(f"a second member has the name {name!r}")
                    names.add(name)
                    yield Member(name, first, size)
                pending = _Pending()
            elif kind == "S":
                raise ValueError("a sparse member")
            else:
                raise ValueError(f"a member of unknown kind {kind!r}")
        except ValueError as error:
            remedy = "Pack it again, as plain tar without compression" if at == 0 else "Fetch or pack it again"
            raise MediaError(place, "tar", f"not a sound tar archive at byte {at}: {error}", remedy) from error
        at = first + -(-size // BLOCK) * BLOCK


def _check_plain(block: bytes) -> None:
    for magic, name in _COMPRESSED.items():
        if block.startswith(magic):
            raise ValueError(f"it is compressed ({name}), so that no member can be read by itself")


def _check_end(archive: Range, at: int, pending: _Pending) -> None:
    """Check that nothing but zeros follow."""
    left = archive.size - at
    if pending.anything:
        raise ValueError("the member that the last header belongs to is missing")
    if left > _PADDING or any(archive.pread(left, at)):
        raise ValueError(f"here is its end, but {left} bytes follow, not all of them zero: two archives in one file?")


def _extend(pending: _Pending, kind: str, data: bytes) -> None:
    """Note what a header says about the next member or, of kind ``"g"``, about all that follow."""
    pending.anything = pending.anything or kind != "g"
    if kind == "K":
        return  # where a link leads
    if kind == "L":
        name = data.rstrip(b"\0")
    else:
        records = parse_pax(data)
        if any(key.startswith(("GNU.sparse", "SCHILY.realsize")) for key in records):
            raise ValueError("a sparse member")
        if records.get("hdrcharset", b"ISO-IR 10646 2000 UTF-8") != b"ISO-IR 10646 2000 UTF-8":
            raise ValueError("names that aren't UTF-8")
        if kind == "g":
            if {"path", "size"} & records.keys():
                raise ValueError("one name or size for all members")
            return
        if pending.records is not None:
            raise ValueError("two PAX headers for one member")
        pending.records = records
        if "path" not in records:
            return
        name = records["path"]
    if pending.name is not None:
        raise ValueError("two names for one member")
    pending.name = name


def _examined(header: Header, size: int, pending: _Pending) -> tuple[str, str | None]:
    """Return why a member is passed over, or else its name; neither for a folder and for the archive's label."""
    kind = header.kind.decode("latin-1")
    if not header.regular:
        if size:
            raise ValueError(f"{size} bytes in a {_PASSED.get(kind, 'folder')}")
        return _PASSED.get(kind, ""), None
    name = _named(header.name if pending.name is None else pending.name)
    if name is None:
        return "name", None
    stated = _named(header.name)
    if len(name) <= 100 and name.isascii() and stated != name:
        raise ValueError(f"two names for one member, {stated!r} and {name!r}")
    return ("", name) if size else ("empty", None)


def _named(raw: bytes) -> str | None:
    """Return a member's name, without ``./`` before it; None if it could lead out of a folder, or can't be shown."""
    try:
        name = raw.decode().removeprefix("./")
    except UnicodeDecodeError:
        return None
    return None if _CONTROL.search(name) or not names_inside(name) else name


def samples(found: Iterable[Member]) -> Iterator[Sample]:
    """Group neighbouring members by their key, as webdataset does; keeps one group in memory.

    A member whose key came before, but not just before, begins a new sample, and so does every 1000th of one key. Where
    there is no dot after the first character of a name's last part, the whole name is the key, and the part is ``""``.
    """
    sample = Sample("", {})
    for member in found:
        folder, slash, last = member.name.rpartition("/")
        stem, _, kind = last.partition(".")
        key, part = (folder + slash + stem, kind.lower()) if stem else (member.name, "")
        if key != sample.key or part in sample.parts or len(sample.parts) == _TOGETHER:
            if sample.parts:
                yield sample
            sample = Sample(key, {})
        sample.parts[part] = member
    if sample.parts:
        yield sample


def sidecars(archive: Range, place: str, sample: Sample) -> dict[str, Any]:
    """Read what a sample says about its recording: ``json``, decoded, and ``cls`` and ``txt``, as texts.

    Args:
        archive: the archive's bytes.
        place: its path or address, for messages.
        sample: one of its samples.

    Raises:
        MediaError: ``sidecar`` if one exceeds 1 MB, isn't UTF-8 or isn't JSON.
        SourceError: if it can't be read now.
    """
    found: dict[str, Any] = {}
    for kind in SIDECARS:
        if kind not in sample.parts:
            continue
        member = sample.parts[kind]
        try:
            if member.num_bytes > _SIDECAR:
                raise ValueError(f"{member.num_bytes} bytes are too many")
            text = archive.pread(member.num_bytes, member.offset).decode("utf-8-sig")
            found[kind] = json.loads(text) if kind == "json" else text.strip()
        except (ValueError, RecursionError) as error:
            why = f"not a readable {kind} file: {error}"
            raise MediaError(f"{place}/{member.name}", "sidecar", why, "Mend it and pack it again") from error
    return found
