"""Connections to the one host of a store, never to a service that tells machines their secrets."""

from __future__ import annotations

import ipaddress
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from avssl.media.source import SourceError

FORBIDDEN = [
    ipaddress.ip_network(net) for net in ("169.254.0.0/16", "fe80::/10", "fd00:ec2::/32", "100.100.100.200/32")
]
METADATA = "this is an address by which clouds tell machines their secrets (link-local, metadata)"


def make_pool(scheme: str, netloc: str) -> Any:
    """Return the pool of connections to the one host of a store."""
    parts = urlsplit(f"{scheme}://{netloc}")
    return _pools()[scheme](parts.hostname, parts.port, maxsize=4)


@cache
def _pools() -> dict[str, Any]:
    """Return pools whose connections refuse the addresses of metadata services before a request is sent."""
    from urllib3.connection import HTTPConnection, HTTPSConnection
    from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

    class Plain(HTTPConnection):
        def connect(self) -> None:
            super().connect()
            _check_peer(self)

    class Encrypted(HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            _check_peer(self)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class EncryptedPool(HTTPSConnectionPool):
        ConnectionCls = Encrypted

    return {"http": PlainPool, "https": EncryptedPool}


def _check_peer(connection: Any) -> None:
    """Close a connection that a name has led to a metadata service; a store may name such an address itself."""
    peer = _address(connection.sock.getpeername()[0])
    if peer is not None and _address(connection.host) is None and any(peer in net for net in FORBIDDEN):
        connection.close()
        raise SourceError(connection.host, "denied", f"{peer}: {METADATA}", "Name the address itself if you mean it")


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address(text.strip("[]").partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found
