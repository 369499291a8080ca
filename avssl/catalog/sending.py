"""Copies in a store: made in a local folder, and sent from there."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from avssl.catalog.copies import Prepared
from avssl.catalog.manifest import Manifest
from avssl.media.places import Place, check_key
from avssl.media.signing import join
from avssl.media.upload import check_writable, put
from avssl.runtime.files import Journal, digest_of, user_cache
from avssl.runtime.progress import Tally

SENT = "sent.journal"
MANIFEST = "stored.parquet"  # beside the copies: their manifest as they are in the store


def work_folder(place: Place) -> Path:
    """Return the folder of the user's cache in which copies for a place in a store are made."""
    return user_cache() / "prepare" / hashlib.sha256(str(place).encode()).hexdigest()[:24]


def send(prepared: Prepared, folder: Path, place: Place) -> Path:
    """Send copies, or the archives that hold them, and their manifest to a store.

    What is there already is not sent again, and nothing else is overwritten. A stopped upload goes on when the command
    is run again, within a large file as well.

    Args:
        prepared: outcome of :func:`avssl.catalog.copies.prepare`.
        folder: its output folder.
        place: where to.

    Returns:
        The manifest of the objects, a local file. It is also sent, as ``videos.parquet``.

    Raises:
        MediaError: ``no_upload`` or ``occupied``, see `avssl.media.upload`.
        SourceError: if something can't be written now.
    """
    check_writable(place.store)
    rows = prepared.manifest.to_rows()
    copies = [row for row in rows if row["status"] == "ok"]
    etags: dict[str, str] = {}
    with Journal(folder / SENT) as journal:
        paths = dict.fromkeys(row["path"] for row in copies)
        with Tally(f"Sending to {place}", len(paths)) as tally:
            for path in paths:
                etags[path] = _send(folder / path, place, path, journal)
                tally.add("there")
        where = {"root": ".", "store": place.store, "mtime_ns": None}
        for row in copies:
            row |= {**where, "path": join(place.prefix, row["path"]), "etag": etags[row["path"]]}
        Manifest.from_rows(rows, base=folder).write(folder / MANIFEST)
        _send(folder / MANIFEST, place, "videos.parquet", journal)
    return folder / MANIFEST


def _send(path: Path, place: Place, name: str, journal: Journal) -> str:
    """Send a file; return the object's version."""
    key = check_key(place.store, join(place.prefix, name))
    entry = f"{place.store}:{key}"
    facts = path.stat()
    known = journal.entries.get(entry, {})
    state = [os.fspath(path), facts.st_size, facts.st_mtime_ns]
    content = known["digest"] if known.get("state") == state else digest_of(path)
    return put(
        place.store,
        key,
        path,
        content,
        known,
        lambda kept: journal.append(entry, {**kept, "state": state, "digest": content}),
    )
