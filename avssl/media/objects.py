"""What a store holds: keys, sizes and versions of objects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import unquote_plus
from xml.etree import ElementTree

from avssl.media.client import Client, client_of
from avssl.media.errors import MediaError
from avssl.media.places import check_key
from avssl.media.signing import cloud_store, join
from avssl.media.source import SourceError
from avssl.media.stores import Store, find_store

PAGE = 1000  # objects of one answer


class Object(NamedTuple):
    """An object: its key below the store's url, its size in bytes, and its version."""

    key: str
    size: int
    etag: str


def find_objects(store: str, prefix: str = "") -> Iterator[Object]:
    """List the objects below a folder of a store, in the order of their keys as S3 sorts them.

    Empty objects, and objects with keys that can't be read (see `check_key`), are left out.

    Args:
        store: name of a configured store.
        prefix: folder below the store's url, without a slash at its end; empty for all of the store.

    Raises:
        SourceError: if the store can't be listed now.
        MediaError: ``no_list`` for HTTP servers, which have no listings.
    """
    found = find_store(store)
    if found.scheme in ("http", "https"):
        why, remedy = "an HTTP server can't be listed", "Give a list of keys, such as a CSV with a path column"
        raise MediaError(f"{store}:{prefix}", "no_list", why, remedy)
    if prefix:
        check_key(store, prefix)
    client = client_of(store)
    folder = join(found.prefix, prefix)
    listing = _list_s3(client, folder) if found.scheme == "s3" else _list_cloud(store, found, folder)
    begin = len(found.prefix) + 1 if found.prefix else 0
    for key, size, etag in listing:
        if size and not key.endswith("/") and _is_key(store, key[begin:]):
            yield Object(key[begin:], size, etag)


def _list_s3(client: Client, folder: str) -> Iterator[Object]:
    query = {"list-type": "2", "encoding-type": "url", "max-keys": str(PAGE), "prefix": f"{folder}/" if folder else ""}
    while True:
        body = client.listing(query)
        try:
            page = ElementTree.fromstring(body)
            fields = [{_name(each): each.text or "" for each in entry} for entry in page if _name(entry) == "Contents"]
            facts = {_name(each): each.text or "" for each in page}
            objects = [Object(unquote_plus(each["Key"]), int(each["Size"]), each.get("ETag", "")) for each in fields]
        except (ElementTree.ParseError, KeyError, ValueError):
            why = f"its listing can't be understood (it begins {body[:40]!r})"
            raise SourceError(f"{client.name}:{folder}", "offline", why, "Check the store's endpoint") from None
        yield from objects
        if facts.get("IsTruncated") != "true":
            return
        query = {**query, "continuation-token": facts["NextContinuationToken"]}


def _list_cloud(store: str, found: Store, folder: str) -> Iterator[Object]:
    from obstore.exceptions import BaseError

    try:
        for page in cloud_store(store, found).list(prefix=folder or None):
            for each in page:
                yield Object(each["path"], each["size"], each["e_tag"] or "")
    except BaseError as error:
        why = f"it can't be listed ({type(error).__name__})"
        raise SourceError(f"{store}:{folder}", "offline", why, "Check the credentials and the network") from None


def _name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _is_key(store: str, key: str) -> bool:
    try:
        check_key(store, key)
    except SourceError:
        return False
    return True
