"""Requests that a store accepts: their address, and the headers that prove who asks.

Nothing here talks to a store. Amazon's and compatible stores take a signature per request, made offline by botocore
from the credentials that every AWS tool finds; Google's and Azure's take an address signed by obstore; HTTP servers
take a password of ``~/.netrc``. Each request is signed anew, since signatures expire.
"""

from __future__ import annotations

import base64
import datetime
import logging
import netrc
import os
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote, urlsplit

from avssl.media.source import SourceError
from avssl.media.stores import Store

EXPIRY = datetime.timedelta(minutes=15)  # of a signed address; a request is sent at once
SAFE = "/~"  # characters of a key that addresses keep, besides letters, digits and `_.-`
TALKATIVE = ("botocore.auth", "botocore.credentials", "urllib3.connectionpool")  # they log tokens and signed addresses


class Signed(NamedTuple):
    """A request: the address, and its headers."""

    url: str
    headers: dict[str, str]


class Signer(Protocol):
    """Signs requests to a store."""

    def __call__(
        self, key: str, query: Mapping[str, str], headers: Mapping[str, str], method: str = "GET", body: bytes = b""
    ) -> Signed:
        """Return the request that reads or (of S3 only: for others, see `avssl.media.cloud`) writes an object."""


def make_signer(name: str, store: Store) -> Signer:
    """Return the function that signs requests to a store.

    Raises:
        SourceError: ``denied`` if there are no credentials.
    """
    for logger in map(logging.getLogger, TALKATIVE):
        if logger.level == logging.NOTSET:  # else someone asked for these lines
            logger.setLevel(logging.INFO)
    if store.scheme == "s3":
        return _s3(name, store)
    return _http(store) if store.scheme in ("http", "https") else _cloud(name, store)


def join(*parts: str) -> str:
    """Join the non-empty parts of a key by slashes."""
    return "/".join(part for part in parts if part)


def _s3(name: str, store: Store) -> Signer:
    """AWS Signature Version 4 in the headers, so that no address holds a secret."""
    from botocore.auth import S3SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.exceptions import BotoCoreError
    from botocore.session import Session

    try:
        session = Session(profile=store.profile)
        region = store.region or session.get_config_variable("region") or "us-east-1"
        credentials = None if store.anonymous else session.get_credentials()
    except BotoCoreError as error:
        raise _denied(name, str(error)) from None
    if credentials is None and not store.anonymous:
        raise _denied(name, "there are no AWS credentials")
    base = store.endpoint.rstrip("/") if store.endpoint else _aws(store.bucket, region)
    if store.endpoint or "." in store.bucket:
        base += "/" + store.bucket

    def sign(
        key: str, query: Mapping[str, str], headers: Mapping[str, str], method: str = "GET", body: bytes = b""
    ) -> Signed:
        url = f"{base}/{quote(join(store.prefix, key) if key else '', safe=SAFE)}"
        if query:
            url += "?" + "&".join(f"{name}={quote(query[name], safe='~')}" for name in sorted(query))
        if credentials is None:
            return Signed(url, dict(headers))
        request = AWSRequest(method, url, headers=dict(headers), data=body)
        try:
            S3SigV4Auth(credentials.get_frozen_credentials(), "s3", region).add_auth(request)
        except BotoCoreError as error:  # they have expired, and new ones can't be had
            raise _denied(name, str(error)) from None
        return Signed(url, dict(request.headers.items()))

    return sign


def _aws(bucket: str, region: str) -> str:
    domain = f"s3.{region}.amazonaws.com{'.cn' if region.startswith('cn-') else ''}"
    return f"https://{domain}" if "." in bucket else f"https://{bucket}.{domain}"  # certificates cover one label


def _http(store: Store) -> Signer:
    """No signature; name and password of the host if ``~/.netrc`` (or ``$NETRC``) has an entry for it."""
    parts = urlsplit(store.url)
    extra: dict[str, str] = {}
    path = os.environ.get("NETRC") or os.path.expanduser("~/.netrc")
    if not store.anonymous and os.path.isfile(path):
        entry = netrc.netrc(path).hosts.get(parts.hostname or "")
        if entry is not None:
            extra["Authorization"] = "Basic " + base64.b64encode(f"{entry[0]}:{entry[2]}".encode()).decode()
    base = f"{parts.scheme}://{parts.netloc}"

    def sign(
        key: str, query: Mapping[str, str], headers: Mapping[str, str], method: str = "GET", body: bytes = b""
    ) -> Signed:
        return Signed(f"{base}/{quote(join(store.prefix, key), safe=SAFE)}", {**headers, **extra})

    return sign


def _cloud(name: str, store: Store) -> Signer:
    """Signed addresses of Google's or Azure's stores."""
    made = cloud_store(name, store)

    def sign(
        key: str, query: Mapping[str, str], headers: Mapping[str, str], method: str = "GET", body: bytes = b""
    ) -> Signed:
        import obstore
        from obstore.exceptions import BaseError

        path = join(store.prefix, key)
        if store.anonymous:
            base = (store.endpoint or "https://storage.googleapis.com").rstrip("/")
            return Signed(f"{base}/{store.bucket}/{quote(path, safe=SAFE)}", dict(headers))
        try:
            return Signed(obstore.sign(made, "GET", path, EXPIRY), dict(headers))
        except BaseError as error:
            raise _denied(name, f"no address can be signed ({type(error).__name__})") from None

    return sign


def cloud_store(name: str, store: Store) -> Any:
    """Return obstore's client of a ``gs`` or ``az`` store, with the provider's own credentials.

    Raises:
        SourceError: ``denied`` if it can't be made from them.
    """
    from obstore.exceptions import BaseError
    from obstore.store import AzureStore, GCSStore

    made: Any = AzureStore if store.scheme == "az" else GCSStore
    options: dict[str, Any] = {"client_options": {"allow_http": store.allow_http, "timeout": f"{store.timeout:g}s"}}
    limit = datetime.timedelta(seconds=store.deadline)
    options["retry_config"] = {"max_retries": store.retries, "retry_timeout": limit}
    if store.anonymous:
        options["skip_signature"] = True
    if store.endpoint:
        options["endpoint" if store.scheme == "az" else "base_url"] = store.endpoint
    try:
        return made(store.bucket, **options)
    except BaseError as error:
        raise _denied(name, f"no client can be made from the credentials ({type(error).__name__})") from None


def _denied(name: str, why: str) -> SourceError:
    remedy = "Set the provider's environment variables or log in, name a profile, or set anonymous for a public store"
    return SourceError(f"{name}:", "denied", why, remedy)
