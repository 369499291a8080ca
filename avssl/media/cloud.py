"""Write objects to Google's and Azure's stores, with obstore: each file as a whole, in parts that obstore chooses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from avssl.media import signing
from avssl.media.answers import There
from avssl.media.client import Client

MARK = "avssl_sha256"  # Azure takes no hyphens in a name of metadata


def describe(client: Client, key: str) -> There | None:
    """Return an object as it is in the store; None if there is none.

    Raises:
        SourceError: if the store can't be asked now.
    """
    import obstore

    with _told(client, key):
        store, path = signing.cloud_store(client.name, client.store), signing.join(client.store.prefix, key)
        try:
            found = obstore.get(store, path, options={"head": True})
        except FileNotFoundError:
            return None
        return There(found.meta["e_tag"] or "", str(found.attributes.get(MARK, "")))


def write(client: Client, key: str, path: Path, content: str) -> str:
    """Write a file; return the object's version. A failed request is repeated as obstore does it.

    Raises:
        SourceError: if it can't be written now.
    """
    import obstore

    with _told(client, key):
        store, place = signing.cloud_store(client.name, client.store), signing.join(client.store.prefix, key)
        return obstore.put(store, place, path, attributes={MARK: content})["e_tag"] or ""


@contextmanager
def _told(client: Client, key: str) -> Iterator[None]:
    """Turn obstore's errors into ours; their texts may show a signed address, so only their kind is told."""
    from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

    try:
        yield
    except BaseError as error:
        denied = isinstance(error, PermissionDeniedError | UnauthenticatedError)
        why = f"it can't be asked for or written ({type(error).__name__})"
        raise client.failure(key, "denied" if denied else "offline", why) from None
