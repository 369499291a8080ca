"""Write objects to stores; to S3, large ones in parts, so that an interrupted upload goes on where it was."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from avssl.media import cloud
from avssl.media.answers import There, version_of
from avssl.media.client import Client, client_of
from avssl.media.errors import MediaError
from avssl.media.places import check_key
from avssl.media.source import SourceError

PART = 16 << 20  # bytes of a request; at least 5 MiB, except for the last
MOST_PARTS = 10_000
WRITABLE = ("s3", "gs", "az")
MARK = "x-amz-meta-avssl-sha256"  # header of each object that is written here
Record = Mapping[str, Any]


def check_writable(store: str) -> None:
    """Raise a `MediaError` unless objects can be written to a store of this kind."""
    client = client_of(store)
    if client.store.scheme not in WRITABLE:
        why = f"objects are written to {', '.join(WRITABLE)} stores, and this one is {client.store.scheme}"
        raise MediaError(
            f"{store}:", "no_upload", why, "Write to a local folder, and copy it with the provider's tools"
        )


def put(store: str, key: str, path: Path, content: str, known: Record, note: Callable[[Record], None]) -> str:
    """Write a file to a store, unless it is there; return the object's version.

    Args:
        store: name of the store.
        key: key of the object.
        path: the file.
        content: its SHA-256.
        known: what ``note`` was last called with for this key, in this process or an earlier one; else empty.
        note: called with what must be kept to go on after a stop: after each part, and at the end.

    Raises:
        MediaError: ``occupied`` if another object has this key, which was not written by these calls.
        SourceError: if it can't be written now.
    """
    client = client_of(store)
    check_key(store, key)
    there = _describe(client, key)
    if there is not None and there.content == content:
        note({"content": content, "etag": there.etag})
        return there.etag
    if there is not None and there.etag != known.get("etag") and there.content != known.get("of", content):
        why = "another object has this key, and isn't one that this command wrote"
        raise MediaError(f"{store}:{key}", "occupied", why, "Choose another prefix, or remove it")
    whole = client.store.scheme != "s3"
    if whole or path.stat().st_size <= PART:
        note({"etag": known.get("etag"), "of": content})
    if whole:
        etag = cloud.write(client, key, path, content)
    elif path.stat().st_size <= PART:
        etag = _send(client, "PUT", key, {}, {MARK: content}, path.read_bytes())[0]
    else:
        etag = _in_parts(client, key, path, content, {**known, "old": known.get("etag")}, note)
    note({"content": content, "etag": etag})
    return etag


def _in_parts(
    client: Client, key: str, path: Path, content: str, known: dict[str, Any], note: Callable[[Record], None]
) -> str:
    size = path.stat().st_size
    step = max(PART, -(-size // MOST_PARTS))
    begun = known.get("upload") if known.get("of") == content and known.get("step") == step else None
    parts: list[str] = list(known["parts"]) if begun else []
    upload = begun or _begin(client, key, content)
    with open(path, "rb") as file:
        file.seek(len(parts) * step)
        while data := file.read(step):
            query = {"partNumber": str(len(parts) + 1), "uploadId": upload}
            try:
                parts.append(_send(client, "PUT", key, query, {}, data)[0])
            except SourceError as error:
                if error.code != "not_found" or not begun:
                    raise
                return _in_parts(client, key, path, content, {"etag": known["old"], "old": known["old"]}, note)
            note({"etag": known["old"], "of": content, "step": step, "upload": upload, "parts": parts})
    tree = ElementTree.Element("CompleteMultipartUpload")
    for number, etag in enumerate(parts, 1):
        part = ElementTree.SubElement(tree, "Part")
        ElementTree.SubElement(part, "PartNumber").text = str(number)
        ElementTree.SubElement(part, "ETag").text = etag
    _send(client, "POST", key, {"uploadId": upload}, {}, ElementTree.tostring(tree))
    there = _describe(client, key)
    if there is None or there.content != content:  # a refusal may come with status 200
        raise client.failure(key, "short", "its parts were sent, and it isn't there")
    return there.etag


def _begin(client: Client, key: str, content: str) -> str:
    answer = _send(client, "POST", key, {"uploads": ""}, {MARK: content}, b"")[1]
    try:
        fields = {each.tag.rpartition("}")[2]: each.text or "" for each in ElementTree.fromstring(answer)}
        return fields["UploadId"]
    except (ElementTree.ParseError, KeyError):
        raise client.failure(key, "offline", f"its answer can't be understood (it begins {answer[:40]!r})") from None


def _send(
    client: Client, method: str, key: str, query: Mapping[str, str], headers: dict[str, str], body: bytes
) -> tuple[str, bytes]:
    """Return version and body of the answer."""

    def take(response: Any, deadline: float) -> tuple[str, bytes]:
        return version_of(response.headers), response.read(1 << 20)

    return client.request(key, query, headers, take, method=method, body=body)


def _describe(client: Client, key: str) -> There | None:
    if client.store.scheme != "s3":
        return cloud.describe(client, key)

    def take(response: Any, deadline: float) -> There:
        response.read1(1)
        return There(version_of(response.headers), response.headers.get(MARK, ""))

    try:
        return client.request(key, {}, {"Range": "bytes=0-0"}, take)
    except SourceError as error:
        if error.code != "not_found":
            raise
        return None
