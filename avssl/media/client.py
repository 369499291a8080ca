"""Requests to a store: one host, no redirects, a deadline, repetitions, and a reason for every failure.

Connections belong to a process: a forked child makes its own.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from avssl.media.answers import Passing, matching, part_of, passing, reason, seconds, version_of
from avssl.media.connections import make_pool
from avssl.media.signing import make_signer
from avssl.media.source import SourceError
from avssl.media.stores import Store, find_store

Result = TypeVar("Result")
CHUNK = 64 << 10  # bytes received between two looks at the clock
EXPECTED = 64 << 20  # bytes of a whole object for which its download may take another deadline
PAUSE, LONGEST_PAUSE = 0.1, 10.0  # seconds before the first repetition, at most; doubled for each further one
AGAIN = {429: "throttled", 503: "throttled", 408: "timeout", 500: "offline", 502: "offline", 504: "offline"}
FINAL = {401: "denied", 403: "denied", 400: "denied", 404: "not_found", 410: "not_found", 412: "changed"}
REMEDIES = {
    "denied": "Check the credentials, their permissions and the region; run it again to go on from here",
    "not_found": "Check the store's url and the key, or index the collection again",
    "changed": "Index the collection again, so that the manifest names the object as it is now",
    "throttled": "Lower requests_per_second of the store or the number of workers, and run it again to go on from here",
    "timeout": "Check the network, or raise timeout and deadline of the store; run it again to go on from here",
    "short": "Check the server and the network; run it again to go on from here",
    "offline": "Check the network and the store's url; run it again to go on from here",
    "no_range": "Set data.cache to a folder, into which whole objects are copied, or use a server that serves ranges",
    "redirect": "Set the store's region or endpoint, or name the other address as a store if you trust it",
}


class Part(NamedTuple):
    """Bytes of an object: the data, the size of the whole object in bytes, and its version (empty if not told)."""

    data: bytes
    size: int
    etag: str


class Client:
    """The connections of this process to one store."""

    def __init__(self, name: str, store: Store) -> None:
        self.name, self.store = name, store
        try:
            self.sign = make_signer(name, store)
            self.origin = urlsplit(self.sign("-", {}, {}).url)[:2]
            self.pool = make_pool(*self.origin)
        except ModuleNotFoundError as error:
            raise ValueError(f"{store.scheme} stores need {error.name}: pip install 'avssl[stores]'") from error
        self.lock, self.next_at = threading.Lock(), 0.0
        self.draw = random.Random()

    def read(self, key: str, first: int, count: int, size: int = 0, etag: str = "") -> Part:
        """Read bytes of an object; all of them, unless the object ends first.

        Args:
            key: key of the object.
            first: position of the first byte.
            count: number of bytes.
            size: expected size of the whole object in bytes; 0 if it isn't known.
            etag: expected version; empty if it isn't known.

        Raises:
            SourceError: with the reason, after repetitions where they may help.
        """

        def take(response: Any, deadline: float) -> Part:
            found = part_of(response.headers, first, count) if response.status == 206 else None
            if found is None:
                whole = response.headers.get("Content-Length", "")
                if response.status == 206 or first or not whole.isdigit() or int(whole) > count:
                    raise self.failure(key, "no_range", f"the answer ({response.status}) isn't the range asked for")
                found = (int(whole), int(whole))
            length, total = found
            version = version_of(response.headers)
            self._check_same(key, (total, version), (size, etag))
            return Part(b"".join(self._chunks(response, length, deadline)), total, version)

        return self.request(key, {}, {"Range": f"bytes={first}-{first + count - 1}", **matching(etag)}, take)

    def download(self, key: str, file: IO[bytes], size: int, etag: str = "") -> None:
        """Write a whole object to a file in one request, for servers that serve no ranges; arguments as in `read`."""

        def take(response: Any, deadline: float) -> None:
            length = response.headers.get("Content-Length", "")
            if response.status != 200 or not length.isdigit():
                raise self.failure(key, "no_range", "the answer isn't the whole object either, or of unknown length")
            self._check_same(key, (int(length), version_of(response.headers)), (size, etag))
            file.seek(0)
            for chunk in self._chunks(response, size, deadline):
                file.write(chunk)

        self.request(key, {}, matching(etag), take, patience=1 + size / EXPECTED)

    def listing(self, query: Mapping[str, str]) -> bytes:
        """Return the answer to a request about the store as a whole."""

        def take(response: Any, deadline: float) -> bytes:
            length = response.headers.get("Content-Length", "")
            return b"".join(self._chunks(response, int(length) if length.isdigit() else None, deadline))

        return self.request("", query, {}, take)

    def failure(self, key: str, code: str, why: str) -> SourceError:
        """Return the error of an object."""
        return SourceError(f"{self.name}:{key}", code, why, REMEDIES[code])

    def _check_same(self, key: str, now: tuple[int, str], before: tuple[int, str]) -> None:
        """Compare size and version with those expected, where these are known."""
        if before[0] and now[0] != before[0]:
            raise self.failure(key, "changed", f"it has {now[0]} bytes, and had {before[0]}")
        if before[1] and now[1] != before[1]:
            raise self.failure(key, "changed", f"its version is {now[1] or 'not told'}, and was {before[1]}")

    def request(
        self,
        key: str,
        query: Mapping[str, str],
        headers: dict[str, str],
        take: Callable[[Any, float], Result],
        patience: float = 1.0,
        method: str = "GET",
        body: bytes = b"",
    ) -> Result:
        """Send a request, repeat it where that may help, and return what ``take`` makes of the answer.

        Args:
            key: key of the object; empty for the store as a whole.
            query: what follows the ``?``.
            headers: further headers.
            take: called with the answer and the time at which it must have been read.
            patience: deadlines of the store that it may take.
            method: what is done with the object.
            body: bytes sent along.

        Raises:
            SourceError: with the reason.
        """
        deadline, attempt = time.monotonic() + patience * self.store.deadline, 0
        while True:
            try:
                return self._once(key, query, headers, take, deadline, method, body)
            except Passing as problem:
                failure = problem
            pause = max(failure.pause, self.draw.uniform(0, min(LONGEST_PAUSE, PAUSE * 2**attempt)))
            attempt += 1
            if attempt > self.store.retries or time.monotonic() + pause >= deadline:
                tried = f"{failure.why} ({attempt} request{'s' if attempt > 1 else ''})"
                raise self.failure(key, failure.code, tried)
            time.sleep(pause)

    def _once(
        self,
        key: str,
        query: Mapping[str, str],
        headers: dict[str, str],
        take: Callable[[Any, float], Result],
        deadline: float,
        method: str,
        body: bytes,
    ) -> Result:
        import urllib3

        self._wait_for_turn()
        signed = self.sign(key, query, headers, method, body)
        parts = urlsplit(signed.url)
        if parts[:2] != self.origin:
            raise self.failure(key, "redirect", f"its signed address is at {parts.hostname}")
        patience = max(0.01, min(self.store.timeout, deadline - time.monotonic()))
        response = None
        try:
            response = self.pool.urlopen(
                method,
                parts._replace(scheme="", netloc="").geturl(),
                body=None if method == "GET" else body,
                headers={**signed.headers, "Accept-Encoding": "identity", "User-Agent": "avssl"},
                redirect=False,
                retries=False,
                preload_content=False,
                decode_content=False,
                timeout=urllib3.Timeout(patience, patience),
            )
            if response.status in (200, 206):
                return take(response, deadline)
            raise self._refusal(key, response)
        except urllib3.exceptions.HTTPError as error:  # its text may show a signed address: only its kind is told
            raise passing(error) from None
        finally:
            if response is not None:
                response.close()  # returns a connection whose answer was read to the end, and closes any other
                response.release_conn()

    def _chunks(self, response: Any, length: int | None, deadline: float) -> Iterator[bytes]:
        """Yield the body, whose length may be known, as it arrives; what exceeds the length is not read."""
        from urllib3.exceptions import ProtocolError

        received = 0
        while length is None or received < length:
            try:
                chunk = response.read1(CHUNK if length is None else min(CHUNK, length - received))
            except ProtocolError:  # the connection ended
                chunk = b""
            if not chunk:
                break
            received += len(chunk)
            if time.monotonic() > deadline:
                raise Passing("timeout", f"{received} bytes arrived in time")
            yield chunk
        if length is not None and received < length:
            raise Passing("short", f"{received} of {length} bytes arrived")
        if length is not None:
            response.read1(1)  # the end of the answer, so that the connection can be used again

    def _refusal(self, key: str, response: Any) -> Exception:
        status = response.status
        what = f"the server answers {status}{reason(response)}"
        if 300 <= status < 400:
            host = urlsplit(response.headers.get("Location") or "").hostname
            region = response.headers.get("x-amz-bucket-region")
            told = f", the bucket's region is {region}" if region else f", to {host}" if host else ""
            return self.failure(key, "redirect", f"the server sends this request elsewhere ({status}{told})")
        if status == 416:
            return self.failure(key, "changed", "it ends before the bytes that are asked for")
        if status in AGAIN:
            return Passing(AGAIN[status], what, seconds(response.headers.get("Retry-After")))
        return self.failure(key, FINAL.get(status, "offline"), what)

    def _wait_for_turn(self) -> None:
        if self.store.requests_per_second is None:
            return
        with self.lock:
            now = time.monotonic()
            turn = max(now, self.next_at)
            self.next_at = turn + 1 / self.store.requests_per_second
        time.sleep(turn - now)


_clients: dict[str, Client] = {}


def client_of(name: str) -> Client:
    """Return this process's client of the store with this name.

    Raises:
        SourceError: ``store_unknown``, ``denied``.
        ValueError: if a package of ``avssl[stores]`` is missing.
    """
    store, client = find_store(name), _clients.get(name)
    if client is None or client.store != store:
        client = _clients[name] = Client(name, store)
    return client


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_clients.clear)  # two processes on one connection would mix their answers
