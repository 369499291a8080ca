"""Open a path safely: no network, no playlists, no scripts posing as media, and a reason for every refusal."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import cast

import av
from av.container import InputContainer

from avssl.media.errors import MediaError
from avssl.media.info import VideoInfo
from avssl.media.source import Source
from avssl.media.window import Window, open_range, reading
from avssl.media.windowed import Feed, Windowed

MAX_PIXELS = 8192 * 4320
DECODE_ERRORS = (av.error.FFmpegError, IndexError)  # PyAV raises IndexError where damage looks like a new stream
_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,mp4,matroska,webm,avi,mpegts,mpeg,flv,asf,gif,mp3,wav,ogg,aac,flac",
}
_TIMEOUT = (10.0, 30.0)  # seconds to open, seconds to read
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+[:,]")
_BOXES = {b"ftyp", b"moov", b"moof", b"mdat", b"wide", b"free", b"skip", b"styp", b"pnot", b"uuid"}
_MAGIC = {
    b"\x1a\x45\xdf\xa3": "matroska",
    b"RIFF": "riff",
    b"FLV": "flv",
    b"\x30\x26\xb2\x75": "asf",
    b"\x00\x00\x01\xba": "mpeg",
    b"GIF8": "gif",
    b"OggS": "ogg",
    b"fLaC": "flac",
    b"ID3": "mp3",
}
_LISTS = {b"#EXTM3U": "an HLS playlist", b"ffconcat": "an ffconcat script", b"v=0": "an SDP description"}


def path_of(place: str | Path | Source) -> Path:
    """Return the path that messages show: for a member of an archive, as if the archive were a folder."""
    return Path(str(place) if isinstance(place, Source) else place)


def place_of(info: VideoInfo) -> Path | Source:
    """Return where a recording is read from."""
    return info.source or info.path


def check_path(path: str | Path | Source) -> Path | Source:
    """Return the path as a ``Path`` if it names a non-empty local file; a source is checked when it is opened.

    Raises:
        MediaError: ``url``, ``not_found``, ``not_file`` or ``empty``.
    """
    if isinstance(path, Source):
        if path.num_bytes == 0 and not path.store:  # an object may be of unknown size
            raise MediaError(path, "empty", "it has 0 bytes", "Fetch or pack it again")
        return path
    text = os.fspath(path)
    path = Path(path)
    if not path.exists():
        if _SCHEME.match(text) or "://" in text or ":/" in text:
            raise MediaError(text, "url", "this is a URL, not a local file", "Download it and give the local path")
        raise MediaError(path, "not_found", "there is no such file", "Check the path, or rebuild the manifest")
    if not path.is_file():
        raise MediaError(path, "not_file", "this is not a regular file", "Give the path of one media file")
    if path.stat().st_size == 0:
        raise MediaError(path, "empty", "the file has 0 bytes", "Fetch or copy it again")
    return path


def sniff(path: Path | Source) -> str:
    """Return the container family of a file by its first 4 kB, such as ``"mp4"`` or ``"matroska"``.

    Raises:
        MediaError: ``playlist`` or ``not_media``, saying what the first bytes look like; ``unreadable``.
        SourceError: if a source can't be read now.
    """
    try:
        with reading(path) as file:
            head = file.read(4096)
    except OSError as error:
        raise MediaError(path, "unreadable", f"it can't be read: {error}", "Check permissions and the disk") from error
    if head[4:8] in _BOXES:
        return "mp4"
    for magic, family in _MAGIC.items():
        if head.startswith(magic):
            return family
    for first, step in ((0, 188), (4, 192)):
        if len(head) > first + step and head[first] == head[first + step] == 0x47:
            return "mpegts"
    if head[:1] == b"\xff" and len(head) > 1 and head[1] & 0xE0 == 0xE0 and head[1] != 0xD8:
        return "mp3"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    for start, what in _LISTS.items():
        if text.startswith(start):
            raise MediaError(path, "playlist", f"this is {what}, which points at other files", "Give the file itself")
    raise MediaError(path, "not_media", *_describe(text[:200]))


def _describe(text: bytes) -> tuple[str, str]:
    """Describe a file that is not a recording, and give the remedy."""
    shown = repr(text[:24])[1:]
    if text.startswith(b"version https://git-lfs"):
        return f"this is a git-lfs pointer, not the recording (it begins {shown})", "Run `git lfs pull`"
    lower = text.lower()
    if b"<mpd" in lower:
        return f"this is a DASH manifest, not a recording (it begins {shown})", "Give the media file itself"
    if lower.startswith((b"<!doctype", b"<html", b"<?xml")):
        return f"this is a web page, probably a failed download (it begins {shown})", "Download it again"
    if text.startswith((b"\xff\xd8", b"\x89PNG", b"BM", b"P5", b"P6")):
        return f"this is a still image (it begins {shown})", "Name it .jpg, .png, .webp or .bmp, if it is complete"
    return f"its first bytes match no known container ({shown})", "Check where the file came from"


def open_container(path: Path | Source, max_pixels: int = MAX_PIXELS, known: bool = False) -> InputContainer:
    """Open a recording with FFmpeg, without access to the network or to any other file.

    Args:
        path: a local file, or a stretch of one or of an object, of which no other byte is read. Close the container
            of a stretch, or leave its ``with`` block, to release the file.
        max_pixels: larger frames are not decoded while opening.
        known: skip trial decoding of the streams, so that opening takes a fifth of the time. Only for containers that
            state how far frames are reordered (mp4 and mov).

    Raises:
        MediaError: with the reason, if it can't be opened.
        SourceError: if the bytes of a stretch can't be had now. So do all steps that read from its container: it is
            never taken for damage or for the end of the recording.
    """
    options = {**_OPTIONS, "max_pixels": str(max_pixels)}
    if known:
        options["codec_whitelist"] = "none"
    try:
        if isinstance(path, Source):
            return _open_window(path, options)
        file = "file:" + os.path.realpath(path)
        return av.open(file, options=options, metadata_errors="replace", timeout=_TIMEOUT)
    except (av.error.FFmpegError, OSError) as error:
        check_path(path)
        family = sniff(path)
        if family == "mp4" and not has_box(path, b"moov"):
            why = "its table of contents (the moov box) is missing: the file was cut off"
            raise MediaError(path, "truncated", why, "Fetch or copy it again") from error
        why = f"it looks like {family}, but can't be opened: {error.strerror}"
        raise MediaError(path, "corrupt", why, "Fetch or convert it again") from error


def _open_window(source: Source, options: dict[str, str]) -> InputContainer:
    options = {**options, "protocol_whitelist": "none"}
    timeout = None if source.store else _TIMEOUT  # a store has its own: FFmpeg's would look like damage
    window = Window(open_range(source), str(source))
    feed = Feed(window, "window" + os.path.splitext(source.member or source.path)[1])
    try:
        try:
            container = av.open(feed, "r", options=options, metadata_errors="replace", timeout=timeout)
        finally:
            window.check()
    except BaseException:
        window.close()
        raise
    return cast(InputContainer, Windowed(container, window))


def has_box(path: Path | Source, name: bytes) -> bool:
    """Return True if an ISO file (mp4, mov) has a complete top-level box of this name."""
    with reading(path) as file:
        size, start = file.seek(0, os.SEEK_END), 0
        while start + 8 <= size:
            file.seek(start)
            head = file.read(16)
            length = int.from_bytes(head[:4], "big")
            if length == 1:
                length = int.from_bytes(head[8:16], "big")
            if head[4:8] == name:
                return start + length <= size
            if length < 8:
                return False
            start += length
    return False
