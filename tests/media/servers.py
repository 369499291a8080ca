"""Servers on loopback that stores are tested against: an HTTP server of ranges with faults put in, and an S3 server."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from avssl.media.source import SourceError


class Asked(NamedTuple):
    """A request that arrived: its path, its headers in lower case, and the bytes of the answer."""

    path: str
    headers: dict[str, str]
    sent: int


class RangeServer:
    """Serve objects by ranges, with faults.

    Attributes:
        objects: content by path.
        fault: called with the number of the request, from 0; the name of a fault, or None to answer rightly: a status
            (``"403"``), ``"stall"``, ``"trickle"``, ``"cut"``, ``"whole"`` (200 without range), ``"shifted"`` (another
            range), ``"drop"`` (no answer), or ``"http://…"`` (a redirect).
        asked: requests so far.
    """

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.fault: Callable[[int], str | None] = lambda number: None
        self.asked: list[Asked] = []
        self.etags, self.dated = True, False
        self.lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *words: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.http.handle_error = lambda *words: None  # clients that give up are what is tested
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()

    def etag(self, path: str) -> str:
        return f'"{hashlib.md5(self.objects[path]).hexdigest()}"'

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path = unquote(urlsplit(request.path).path)
        with self.lock:
            fault = self.fault(len(self.asked)) or ""
            place = len(self.asked)
            self.asked.append(Asked(request.path, {k.lower(): v for k, v in request.headers.items()}, 0))
        if fault == "drop":
            request.close_connection = True
            return
        if fault == "stall":
            time.sleep(1.5)
        status, body, headers = self._reply(path, request.headers, fault)
        with self.lock:
            self.asked[place] = self.asked[place]._replace(sent=len(body))
        request.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            request.send_header(name, value)
        request.end_headers()
        if fault == "trickle":
            for place in range(len(body)):
                request.wfile.write(body[place : place + 1])
                time.sleep(0.05)
        if fault == "cut":
            request.wfile.write(body[: len(body) // 2])
            request.close_connection = True
            return
        request.wfile.write(body)

    def _reply(self, path: str, asked: dict[str, str], fault: str) -> tuple[int, bytes, dict[str, str]]:
        if fault.startswith("http"):
            return 302, b"", {"Location": fault + path}
        if fault.isdigit():
            return int(fault), b"<Error><Code>Made</Code></Error>", {"Retry-After": "0"}
        data = self.objects.get(path)
        if data is None:
            return 404, b"", {}
        headers = {"ETag": self.etag(path)} if self.etags else {}
        if self.dated:
            headers["Last-Modified"] = "Sun, 29 Nov 2026 00:00:00 GMT"
        if asked.get("If-Match") not in (None, headers.get("ETag")):
            return 412, b"", headers
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", asked.get("Range") or "")
        if found is None or fault == "whole":
            return 200, data, headers
        first, last = int(found[1]), min(int(found[2]), len(data) - 1)
        if first > last:
            return 416, b"", {"Content-Range": f"bytes */{len(data)}"}
        if fault == "shifted":
            first, last = first + 1, min(last + 1, len(data) - 1)
        return 206, data[first : last + 1], {**headers, "Content-Range": f"bytes {first}-{last}/{len(data)}"}


@contextmanager
def serving() -> Iterator[RangeServer]:
    """Run a range server on a free port of the loopback interface."""
    server = RangeServer()
    try:
        yield server
    finally:
        server.close()


class S3Server(NamedTuple):
    """An S3 server: its address, and what it was asked: (method, path, headers) of each request."""

    url: str
    asked: list[tuple[str, str, dict[str, str]]]


@contextmanager
def serving_s3() -> Iterator[S3Server]:
    """Run moto's S3 server, which checks signatures' form but not their secrets, on a free port."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    app = DomainDispatcherApplication(create_backend_app)
    asked: list[tuple[str, str, dict[str, str]]] = []

    class Quiet(WSGIRequestHandler):
        def log(self, *words: object) -> None:
            pass

    def recording(environ, start):  # type: ignore[no-untyped-def]
        headers = {name[5:].lower(): value for name, value in environ.items() if name.startswith("HTTP_")}
        asked.append((environ["REQUEST_METHOD"], environ["PATH_INFO"] + "?" + environ["QUERY_STRING"], headers))
        return app(environ, start)

    server = make_server("127.0.0.1", 0, recording, threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield S3Server(f"http://127.0.0.1:{server.server_port}", asked)
    finally:
        server.shutdown()
        server.server_close()


class RangeFile:
    """A range as the file object that PyAV reads from; it remembers what made a read fail."""

    def __init__(self, range) -> None:  # type: ignore[no-untyped-def]
        self.range, self.place, self.failure = range, 0, None

    def read(self, n: int) -> bytes:
        if self.failure is not None:
            return b""
        try:
            data = self.range.pread(n, self.place)
        except SourceError as error:
            self.failure = error
            return b""
        self.place += len(data)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        self.place = offset + (0, self.place, self.range.size)[whence]
        return self.place

    def tell(self) -> int:
        return self.place
