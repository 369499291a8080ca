"""The blocks of 512 bytes before the members of a tar archive: ustar, GNU and PAX, read strictly."""

from __future__ import annotations

import re
from typing import NamedTuple

BLOCK = 512
LARGE = 8**11  # sizes from here on (8 GiB) don't fit the 11 octal digits of a header

REGULAR = b"0\x007"  # kinds of member: regular, as old archives mark it, contiguous
_OCTAL = re.compile(rb" *([0-7]+)[ \0]*|\0*")
_RECORD = re.compile(rb"([1-9][0-9]{0,6}) ")
_POSIX, _GNU = b"ustar\x0000", b"ustar  \0"


class Header(NamedTuple):
    """One header.

    Attributes:
        kind: one byte that tells what the member is.
        name: its name as bytes; cut off if it has a longer one in a header of its own.
        num_bytes: length of its data.
    """

    kind: bytes
    name: bytes
    num_bytes: int

    @property
    def regular(self) -> bool:
        """True for a file with contents of its own. Old archives mark a folder by a slash at the end of its name."""
        return self.kind in REGULAR and not (self.kind == b"\0" and self.name.endswith(b"/"))


def parse_header(block: bytes) -> Header:
    """Read a header.

    Raises:
        ValueError: with the reason, if it is none or says something of doubtful meaning.
    """
    style = block[257:265]
    if style not in (_POSIX, _GNU):
        raise ValueError("there is no header of a tar archive here")
    stated = _number(block[148:156])
    found = sum(block) - sum(block[148:156]) + 8 * ord(" ")
    if stated != found:
        raise ValueError(f"the header's checksum is {stated}, but its bytes give {found}")
    name = block[:100].split(b"\0", 1)[0]
    if style == _POSIX:
        prefix = block[345:500].split(b"\0", 1)[0]
        name = prefix + b"/" + name if prefix else name
    elif any(block[345:500]):
        raise ValueError("it is part of an incremental backup by GNU tar")
    return Header(block[156:157], name, _number(block[124:136]))


def parse_pax(data: bytes) -> dict[str, bytes]:
    """Read the records ``LENGTH KEY=VALUE`` of a PAX header.

    Raises:
        ValueError: with the reason.
    """
    records: dict[str, bytes] = {}
    place = 0
    while place < len(data):
        length = _RECORD.match(data, place)
        stop = place + int(length[1]) if length else 0
        if length is None or not length.end() < stop <= len(data) or data[stop - 1 : stop] != b"\n":
            raise ValueError("a record of the PAX header has a wrong length")
        key, equals, value = data[length.end() : stop - 1].partition(b"=")
        if not equals or key.decode("ascii", "replace") in records:
            raise ValueError("a record of the PAX header has no value, or comes twice")
        records[key.decode("ascii", "replace")] = value
        place = stop
    return records


def pax_size(records: dict[str, bytes], header: Header) -> int:
    """Return the size of a member, given its PAX records and its own header.

    Raises:
        ValueError: if the two disagree, although the size fits the header.
    """
    if "size" not in records:
        return header.num_bytes
    text = records["size"]
    if not re.fullmatch(rb"[0-9]{1,19}", text):
        raise ValueError(f"its size is {text[:24]!r}")
    size = int(text)
    if size < LARGE and size != header.num_bytes:
        raise ValueError(f"it states two sizes, {size} and {header.num_bytes}")
    return size


def _number(field: bytes) -> int:
    """Read octal digits or, after a byte 0x80, a big-endian number."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    if field[0] == 0xFF:
        raise ValueError(f"a negative number: {int.from_bytes(field, 'big', signed=True)}")
    match = _OCTAL.fullmatch(field)
    if match is None:
        raise ValueError(f"not an octal number: {field!r}")
    return int(match[1] or b"0", 8)
