"""Lists as text: lines in the encodings they come in, and JSON of any size a value at a time."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

CHUNK = 1 << 20  # characters of JSON read together
LONGEST = 1 << 30  # characters of one JSON value
BLANKS = re.compile(r"[ \t\r\n]*")


def text_lines(path: Path, encoding: str = "") -> Iterator[str]:
    """Yield the lines of a text with their ends, decoded as UTF-8, or as UTF-16 if it begins with that mark.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it isn't text in this encoding.
    """
    with _opened(path, encoding) as file:
        yield from file


def text_chunks(path: Path, encoding: str = "") -> Iterator[str]:
    """Yield a text in pieces of a megabyte; otherwise like :func:`text_lines`."""
    with _opened(path, encoding) as file:
        while chunk := file.read(CHUNK):
            yield chunk


@contextmanager
def _opened(path: Path, encoding: str) -> Iterator[TextIO]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such list")
    with open(path, "rb") as binary:
        head = binary.read(4096)
    if not encoding:
        marked = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        if b"\0" in head and not marked:
            raise ValueError(
                f"{path}: not text in UTF-8: it has zero bytes. Save it as UTF-8, or give encoding=utf-16-le"
            )
        encoding = "utf-16" if marked else "utf-8-sig"
    try:
        with open(path, encoding=encoding, newline="") as file:
            yield file
    except UnicodeError as error:
        raise ValueError(
            f"{path}{_bad_line(path, encoding)}: not text in {encoding.removesuffix('-sig').upper()} ({error}). "
            "Save it as UTF-8, or say what it is, such as encoding=latin-1"
        ) from error
    except LookupError as error:
        raise ValueError(f"{path}: encoding={encoding}: there is no such encoding") from error


def _bad_line(path: Path, encoding: str) -> str:
    if not encoding.startswith("utf-8"):
        return ""
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return f", line {number}"
    return ""


def json_items(path: Path, encoding: str = "") -> Iterator[tuple[int, str | None, Any]]:
    """Yield (number from 1, key or None, value) of a JSON array or object, which is read a piece at a time.

    Raises:
        ValueError: if it is neither.
    """
    text = _JsonText(path, encoding)
    opened = text.mark()
    if opened not in ("[", "{"):
        raise ValueError(f"{path}: not JSON: expected an array or an object, got {opened!r}")
    closing = "]" if opened == "[" else "}"
    if text.peek() == closing:
        return
    number = 0
    while True:
        key = None
        if opened == "{":
            key = text.value(number)
            if not isinstance(key, str) or text.mark() != ":":
                raise ValueError(f'{path}, after record {number}: not JSON: expected `"name": value`')
        value = text.value(number)
        number += 1
        yield number, key, value
        mark = text.mark()
        if mark == closing:
            return
        if mark != ",":
            raise ValueError(f"{path}, after record {number}: not JSON: expected `,` or `{closing}`, got {mark!r}")


class _JsonText:
    """A piece of a JSON text, and how far it has been read."""

    def __init__(self, path: Path, encoding: str) -> None:
        self._path, self._chunks = path, text_chunks(path, encoding)
        self._text, self._at = "", 0
        self._decode = json.JSONDecoder().raw_decode

    def _grow(self) -> bool:
        """Read on; what has been read is dropped."""
        rest = self._text[self._at :]
        more = "".join(islice(self._chunks, 1 + len(rest) // CHUNK))  # at least twice as much
        self._text, self._at = rest + more, 0
        return bool(more)

    def peek(self) -> str:
        """Return the next mark; empty at the end."""
        while True:
            self._at = BLANKS.match(self._text, self._at).end()  # type: ignore[union-attr]
            if self._at < len(self._text) or not self._grow():
                return self._text[self._at : self._at + 1]

    def mark(self) -> str:
        """Take the next mark."""
        mark = self.peek()
        self._at += len(mark)
        return mark

    def value(self, number: int) -> Any:
        """Take the next value, which is complete if a mark follows."""
        self.peek()
        while True:
            try:
                value, end = self._decode(self._text, self._at)
                if end < len(self._text):
                    self._at = end
                    return value
                why = "it breaks off"
            except json.JSONDecodeError as error:
                why = error.msg
            if len(self._text) - self._at > LONGEST or not self._grow():
                raise ValueError(f"{self._path}, after record {number}: not JSON: {why}")
