"""What the answers of a store's server say: which bytes, which version, and why it refuses."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple


class There(NamedTuple):
    """An object as it is in the store: its version, and the SHA-256 that it was written with, if by this package."""

    etag: str
    content: str


class Passing(Exception):
    """A failure that may pass: its code, what happened, and seconds that the server asks to wait."""

    def __init__(self, code: str, why: str, pause: float = 0.0) -> None:
        super().__init__(code, why, pause)
        self.code, self.why, self.pause = code, why, pause


def version_of(headers: Mapping[str, str]) -> str:
    """Return the version of an object by the headers of an answer: its ETag, or when it was modified."""
    modified = headers.get("Last-Modified")
    return headers.get("ETag") or (f"modified {modified}" if modified else "")


def matching(etag: str) -> dict[str, str]:
    """Return the header that asks for this version of an object."""
    return {"If-Match": etag} if etag.startswith('"') else {}  # weak versions never match; answers are compared anyway


def part_of(headers: Mapping[str, str], first: int, count: int) -> tuple[int, int] | None:
    """Return (bytes in this answer, bytes of the object), or None if it isn't the range that was asked for."""
    found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", headers.get("Content-Range", "").strip())
    if not found or headers.get("Content-Encoding", "identity") != "identity":
        return None
    begin, end, total = map(int, found.groups())
    return (end + 1 - begin, total) if begin == first and end + 1 == min(first + count, total) else None


def passing(error: Exception) -> Exception:
    """Return the failure that an error of the connection means; its text, which may hold an address, isn't kept."""
    from urllib3 import exceptions

    if isinstance(error, exceptions.TimeoutError):
        return Passing("timeout", "no answer in time")
    if isinstance(error, exceptions.NameResolutionError):
        return Passing("offline", "the host's name has no address")
    if isinstance(error, exceptions.NewConnectionError):
        return Passing("offline", "no connection")
    if isinstance(error, exceptions.SSLError):
        return Passing("offline", "no encrypted connection, or its certificate isn't trusted")
    return Passing("offline", f"the connection broke ({type(error).__name__})")


def reason(response: Any) -> str:
    """Return the code that S3, Google and Azure put into the body of a refusal."""
    found = re.search(rb"<Code>([A-Za-z0-9.]{1,64})</Code>", response.read1(4096))
    return f" {found[1].decode()}" if found else ""


def seconds(text: str | None) -> float:
    """Return the seconds that a server asks to wait."""
    return float(text) if text and text.isdigit() else 0.0
