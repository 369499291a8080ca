"""Addresses and keys: what may be read from a store, and what must not."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import PurePath
from typing import NamedTuple
from urllib.parse import urlsplit

from avssl.media.source import SourceError
from avssl.media.stores import settings, unknown_store

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")  # also what is left of `s3://bucket` in a `Path`


class Place(NamedTuple):
    """A folder in a store: the store's name, and the prefix of the keys, empty for all."""

    store: str
    prefix: str

    def __str__(self) -> str:
        return f"{self.store}:{self.prefix}"


def locate(root: str | os.PathLike[str]) -> Place | None:
    """Return the place in a store that ``NAME:prefix`` or an address below a store's url means; None for a local path.

    Raises:
        SourceError: ``store_unknown`` if it is an address of no configured store, ``key``.
    """
    text = root.as_posix() if isinstance(root, PurePath) else os.fspath(root)
    name, colon, rest = text.partition(":")
    if colon and name in settings().stores and not rest.startswith("/"):
        return Place(name, _folder(name, rest))
    found = _ADDRESS.match(text)
    if not found or os.path.exists(text):
        return None
    address = f"{found[1].lower()}://{text[found.end() :].lstrip('/')}".rstrip("/")
    fitting = []
    for name, store in settings().stores.items():
        url = store.url.rstrip("/")
        if address == url or address.startswith(url + "/"):
            fitting.append((len(url), name))
    if fitting:
        length, name = max(fitting)
        return Place(name, _folder(name, address[length + 1 :]))
    shown = urlsplit(address)._replace(query="", fragment="")
    shown = shown._replace(netloc=shown.netloc.rpartition("@")[2])
    raise unknown_store(shown.geturl(), "it lies in no store that you named", "NAME")


def check_key(store: str, key: str) -> str:
    """Return the key of an object, if it can mean nothing but an object below the store's url.

    Raises:
        SourceError: ``key``.
    """
    why = None
    if "://" in key:
        why = "it is an address"
    elif key.startswith("/") or not key:
        why = "it is empty or begins with '/'"
    elif any(part in ("", ".", "..") for part in key.split("/")):
        why = "it has an empty part, '.' or '..'"
    elif "\\" in key or any(unicodedata.category(character) in ("Cc", "Cs") for character in key):
        why = "it has control characters, unpaired surrogates or a backslash"
    if why:
        raise SourceError(
            f"{store}:{key!a}", "key", f"this is no key of an object: {why}", "Index the collection again"
        )
    return key


def _folder(store: str, prefix: str) -> str:
    prefix = prefix.rstrip("/")
    return check_key(store, prefix) if prefix else ""
