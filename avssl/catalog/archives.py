"""Recordings in tar archives, as webdataset, video2dataset and `avssl build` pack them, and what lies beside them."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from avssl.catalog.rows import Asked
from avssl.media import MediaError
from avssl.media.source import Source, SourceError
from avssl.media.tar import Sample, members, samples, sidecars
from avssl.media.window import copy_of, open_range
from avssl.runtime.files import user_cache, write_text

VERSION = 2  # of the kept lists


class Packed(NamedTuple):
    """A recording in an archive, and what its sample says of it: class, group and name.

    ``etag`` marks one that lies compressed in it, see `avssl.media.source.Source`.
    """

    member: str
    offset: int
    bytes: int
    asked: Asked
    etag: str | None = None


class Contents(NamedTuple):
    """What an archive holds.

    Attributes:
        recordings: members with one of the suffixes looked for.
        notes: lines to tell the user, such as members that were passed over.
    """

    recordings: list[Packed]
    notes: list[str]


def contents_of(archive: Source, suffixes: frozenset[str]) -> Contents:
    """List the recordings in an archive; lists are kept in the user's cache until the archive changes.

    Args:
        archive: the whole archive.
        suffixes: suffixes of recordings, in lower case, with their dot.

    Raises:
        MediaError: ``tar``, with the byte, if its layout is doubtful.
        SourceError: if it can't be read now.
    """
    return kept_contents(archive, suffixes, _read)


def kept_contents(
    archive: Source, suffixes: frozenset[str], read: Callable[[Source, frozenset[str]], Contents]
) -> Contents:
    """Return what ``read`` says of an archive, or what it said when the archive was the same."""
    facts = [VERSION, *(getattr(archive, name) for name in archive.__dataclass_fields__), sorted(suffixes)]
    path = user_cache() / "archives" / f"{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]}.json"
    if path.exists():
        kept = json.loads(path.read_text())
        contents = Contents([_thawed(each) for each in kept["recordings"]], kept["notes"])
        if all(packed.etag is None or copy_of(packed.etag).is_file() for packed in contents.recordings):
            return contents
    contents = read(archive, suffixes)
    write_text(path, json.dumps(contents._asdict()))
    return contents


def _read(archive: Source, suffixes: frozenset[str]) -> Contents:
    place = str(archive)
    passed: Counter[str] = Counter()
    found: list[Packed] = []
    notes: list[str] = []
    spoilt: list[str] = []
    opened = open_range(archive)
    try:
        for sample in samples(members(opened, place, passed)):
            media = [each for kind, each in sample.parts.items() if os.path.splitext(f"x.{kind}")[1] in suffixes]
            if not media:
                continue
            try:
                said = _said(sidecars(opened, place, sample), sample)
            except SourceError:
                raise
            except MediaError as error:
                spoilt.append(str(error))
                said = Asked()
            found += (Packed(*member, said) for member in media)
    finally:
        opened.close()
    if passed:
        notes.append(f"{place}: passed over {', '.join(f'{count} x {why}' for why, count in sorted(passed.items()))}")
    if spoilt:
        notes.append(f"{place}: {len(spoilt)} notes beside recordings can't be read, such as {spoilt[0]}")
    return Contents(found, notes)


def _said(beside: dict[str, Any], sample: Sample) -> Asked:
    """Return what ``json`` (its ``label`` or ``labels``, and ``group``) and ``cls`` say; its key is the name."""
    said = beside.get("json")
    said = said if isinstance(said, dict) else {}
    labels = said.get("labels", said.get("label", beside.get("cls")))
    labels = [labels] if isinstance(labels, str | int) else labels
    shown = None
    if isinstance(labels, list) and all(isinstance(label, str | int) for label in labels):
        shown = tuple(sorted({str(label) for label in labels}))
    group = said.get("group")
    return Asked(name=sample.key, labels=shown, group=group if isinstance(group, str) else None)


def _thawed(kept: list[Any]) -> Packed:
    member, offset, length, (name, start, stop, labels, group, view), etag = kept
    asked = Asked(name, start, stop, None if labels is None else tuple(labels), group, view)
    return Packed(member, offset, length, asked, etag)
