"""Objects are read as they are, in few requests, or a reason is given within the deadline."""

from __future__ import annotations

import ipaddress
import multiprocessing
import os
import random
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from servers import RangeFile, RangeServer, serving

from avssl.media import cache as cache_module
from avssl.media import connections, stores
from avssl.media.client import client_of
from avssl.media.remote import BLOCK, SMALL, RemoteRange, is_fragmented, open_remote
from avssl.media.source import Source, SourceError
from avssl.media.stores import Settings, Store, use

PATIENT = {"allow_http": True, "timeout": 0.4, "deadline": 1.0, "retries": 2}
DATA = random.Random(0).randbytes(SMALL + 5 * BLOCK + 77)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[RangeServer]:
    """A server whose store is named ``web``."""
    monkeypatch.setenv(stores.ENVIRONMENT, "")
    with serving() as made:
        made.objects["/v/a b.bin"] = DATA
        use(Settings({"web": Store(made.url + "/v", **PATIENT)}))
        yield made
    stores._current.clear()


def source(server: RangeServer, key: str = "a b.bin", offset: int = 0, size: int | None = None) -> Source:
    data = server.objects["/v/" + key]
    return Source(
        key, "web", "", offset, len(data) - offset if size is None else size, len(data), None, server.etag("/v/" + key)
    )


def film(path: Path, seconds: int = 12, faststart: bool = False, fragmented: bool = False) -> Path:
    """Write noise, of which each picture takes about 20 kB: 25 per second, a keyframe per second."""
    flags = "faststart" if faststart else "frag_keyframe+empty_moov" if fragmented else ""
    draw = np.random.default_rng(0)
    with av.open(str(path), "w", options={"movflags": flags} if flags else {}) as out:
        stream = out.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 160, 128, "yuv420p", 25
        stream.codec_context.time_base = Fraction(1, 25)
        stream.bit_rate, stream.options = 8_000_000, {"qmin": "1", "qmax": "4"}
        for _ in range(25 * seconds):
            frame = av.VideoFrame.from_ndarray(draw.integers(0, 256, (192, 160), dtype=np.uint8), "yuv420p")
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The same film with its table of contents at the end and at the start, and in fragments."""
    folder = tmp_path_factory.mktemp("noise")
    first = film(folder / "last.mp4")
    for name, flags in (("first", "faststart"), ("pieces", "frag_keyframe+empty_moov")):
        with (
            av.open(str(first)) as given,
            av.open(str(folder / f"{name}.mp4"), "w", options={"movflags": flags}) as out,
        ):
            stream = out.add_stream_from_template(given.streams.video[0])
            for packet in given.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    out.mux(packet)
    return {path.stem: path.read_bytes() for path in folder.iterdir()}


def clip(file: object, start: float, num_frames: int = 16) -> list[np.ndarray]:
    """Decode the frames shown from a time on."""
    found = []
    with av.open(file) as container:
        stream = container.streams.video[0]
        container.seek(round(start / stream.time_base), stream=stream)
        for frame in container.decode(stream):
            if frame.time >= start - 1e-3:
                found.append(frame.to_ndarray())
            if len(found) == num_frames:
                break
    return found


@pytest.mark.parametrize("name", ["first", "last"])
def test_clips_in_few_requests(server: RangeServer, films: dict[str, bytes], tmp_path: Path, name: str) -> None:
    """A clip of a film takes at most 8 requests and 2 MB on average, and its frames are the file's."""
    server.objects[f"/v/{name}.mp4"] = films[name]
    path = tmp_path / "same.mp4"
    path.write_bytes(films[name])
    assert len(films[name]) > 2 * SMALL
    starts = [0.0, 3.32, 7.2, 11.0, 11.36]
    for start in starts:
        file = RangeFile(open_remote(source(server, f"{name}.mp4")))
        for ours, theirs in zip(clip(file, start), clip(str(path), start), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert len(server.asked) / len(starts) <= 8
    assert sum(each.sent for each in server.asked) / len(starts) <= 2e6


def test_any_read_gives_the_bytes_of_the_range(server: RangeServer) -> None:
    reader = open_remote(source(server, offset=1000, size=len(DATA) - 3000))
    inside, draw = DATA[1000:-2000], random.Random(1)
    for _ in range(40):
        first = draw.randrange(len(inside) + 10)
        count = draw.choice([0, 1, 32768, 10**6, 10**9])
        assert reader.pread(count, first) == inside[first : first + count]
    asked = [each.headers["range"].removeprefix("bytes=").split("-") for each in server.asked]
    assert min(int(first) for first, _ in asked) == 1000  # nothing outside of the range is asked for
    assert max(int(last) for _, last in asked) == len(DATA) - 2001
    assert reader.received == sum(each.sent for each in server.asked) == len(inside)


def test_straight_reading_takes_longer_runs(server: RangeServer) -> None:
    reader = open_remote(source(server))
    for place in range(0, len(DATA), 32768):
        reader.pread(32768, place)
    assert [each.sent // BLOCK for each in server.asked] == [1, 2, 3, 4, 3]  # and the odd end
    small = open_remote(source(server, size=SMALL))
    small.pread(1, SMALL - 1)
    assert (small.requests, small.received) == (1, SMALL)


@pytest.mark.parametrize(
    ("fault", "code", "requests"),
    [
        ("401", "denied", 1),
        ("403", "denied", 1),
        ("404", "not_found", 1),
        ("412", "changed", 1),
        ("429", "throttled", 3),
        ("503", "throttled", 3),
        ("500", "offline", 3),
        ("drop", "offline", 3),
        ("cut", "short", 3),
        ("stall", "timeout", 2),
        ("trickle", "timeout", 1),
        ("whole", "no_range", 1),
        ("shifted", "no_range", 1),
    ],
)
def test_faults_have_their_code(server: RangeServer, fault: str, code: str, requests: int) -> None:
    server.fault = lambda number: fault
    begun = time.monotonic()
    with pytest.raises(SourceError, match=r"web:a b\.bin: .*\. ") as caught:
        open_remote(source(server)).pread(10, 5)
    assert caught.value.code == code
    assert time.monotonic() - begun < PATIENT["deadline"] + 0.5
    assert requests <= len(server.asked) <= 3
    server.fault = lambda number: None
    assert open_remote(source(server)).pread(10, 5) == DATA[5:15]  # the connection isn't left in disorder


def test_faults_that_pass_change_nothing(server: RangeServer) -> None:
    """Every third request fails or is cut, and one stalls."""
    use(Settings({"web": Store(server.url + "/v", **{**PATIENT, "retries": 8, "deadline": 20.0})}))
    kinds = ["503", "cut", "drop", "429", "500"]
    server.fault = lambda number: (
        kinds[number // 3 % len(kinds)] if number % 3 == 0 else "stall" if number == 7 else None
    )
    reader = open_remote(source(server))
    assert b"".join(reader.pread(100_000, place) for place in range(0, len(DATA), 100_000)) == DATA
    assert len(server.asked) > reader.requests


def test_requests_per_second(server: RangeServer) -> None:
    use(Settings({"web": Store(server.url + "/v", requests_per_second=20, **PATIENT)}))
    begun = time.monotonic()
    for _ in range(5):
        open_remote(source(server)).pread(1, 0)
    assert time.monotonic() - begun >= 4 / 20


def test_redirects_are_not_followed(server: RangeServer) -> None:
    with serving() as other:
        other.objects = server.objects
        server.fault = lambda number: other.url
        with pytest.raises(SourceError, match=r"\(302, to 127\.0\.0\.1\) \[redirect\]"):
            open_remote(source(server)).pread(1, 0)
        assert (len(server.asked), len(other.asked)) == (1, 0)


def test_objects_that_change(server: RangeServer) -> None:
    """Another version is never read as the one that was indexed, whatever the server tells."""
    known, reader = source(server), open_remote(source(server))
    unknown = open_remote(Source("a b.bin", "web"))  # no version known: that of the first answer counts
    assert unknown.size == len(DATA)
    assert reader.pread(9, 0) == unknown.pread(9, 0) == DATA[:9]
    server.objects["/v/a b.bin"] = DATA[::-1]
    for each in (reader, unknown, open_remote(known)):
        with pytest.raises(SourceError, match=r"\[changed\]"):
            each.pread(9, 5 * BLOCK)
    server.etags = False
    with pytest.raises(SourceError, match=r"its version is not told, and was .*\[changed\]|412 \[changed\]"):
        open_remote(known).pread(9, 0)
    dated = Source("a b.bin", "web")
    server.dated = True
    assert open_remote(dated).source.etag == "modified Sun, 29 Nov 2026 00:00:00 GMT"
    server.objects["/v/a b.bin"] = DATA[:-5]
    with pytest.raises(SourceError, match=rf"it has {len(DATA) - 5} bytes, and had {len(DATA)}"):
        RemoteRange(Source("a b.bin", "web", "", 0, len(DATA), len(DATA))).pread(9, 0)


def test_metadata_services_are_refused(server: RangeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host whose name leads to an address of a metadata service gets no request; the address itself may be named."""
    monkeypatch.setattr(connections, "FORBIDDEN", [ipaddress.ip_network("127.0.0.0/8")])
    use(Settings({"web": Store(server.url.replace("127.0.0.1", "localhost") + "/v", **PATIENT)}))
    with pytest.raises(SourceError, match=r"localhost: 127\.0\.0\.1: this is an address by which clouds"):
        open_remote(source(server)).pread(1, 0)
    assert server.asked == []
    use(Settings({"web": Store(server.url + "/v", **PATIENT)}))
    assert open_remote(source(server)).pread(1, 0) == DATA[:1]


def test_forked_processes_have_their_own_connections(server: RangeServer) -> None:
    reader = open_remote(source(server))
    reader.pread(9, 0)
    context = multiprocessing.get_context("fork")
    jobs = [context.Process(target=_read_all, args=(reader, DATA)) for _ in range(3)]
    for job in jobs:
        job.start()
    _read_all(reader, DATA)
    for job in jobs:
        job.join(20)
    assert [job.exitcode for job in jobs] == [0] * 3
    assert client_of("web").pool.num_connections == 1


def _read_all(reader: RemoteRange, expected: bytes) -> None:
    for place in range(0, len(expected), 50_000):
        assert reader.pread(50_000, place) == expected[place : place + 50_000]


def test_fragments_need_a_copy(server: RangeServer, films: dict[str, bytes], tmp_path: Path) -> None:
    assert [is_fragmented(films[name][:BLOCK]) for name in ("first", "last", "pieces")] == [False, False, True]
    server.objects["/v/pieces.mp4"] = films["pieces"]
    file = RangeFile(open_remote(source(server, "pieces.mp4")))
    with pytest.raises(av.error.FFmpegError):
        clip(file, 5.0)
    assert file.failure.code == "fragmented"
    assert len(server.asked) == 1
    use(Settings({"web": Store(server.url + "/v", **PATIENT)}, str(tmp_path / "cache"), 0.1))
    file = RangeFile(open_remote(source(server, "pieces.mp4")))
    (tmp_path / "pieces.mp4").write_bytes(films["pieces"])
    np.testing.assert_array_equal(clip(file, 5.0), clip(str(tmp_path / "pieces.mp4"), 5.0))
    use(Settings({"web": Store(server.url + "/v", **PATIENT)}, str(tmp_path / "small"), 0.001))
    with pytest.raises(SourceError, match=r"made of fragments.* 6 MB \[fragmented\]|\[fragmented\]"):
        open_remote(source(server, "pieces.mp4")).pread(9, 0)


def test_copies_of_what_is_read_often(server: RangeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object is copied once its ranges have cost as much; a server without ranges is read by copies alone."""
    folder = tmp_path / "cache"
    use(Settings({"web": Store(server.url + "/v", **PATIENT)}, str(folder), 0.1))
    for _ in range(40):
        reader = open_remote(source(server))
        assert reader.pread(9, len(DATA) // 2) == DATA[len(DATA) // 2 :][:9]
        reader.close()
    assert len(DATA) < sum(each.sent for each in server.asked) <= 2 * len(DATA)
    copies = [path for path in folder.iterdir() if path.is_file()]
    assert [path.read_bytes() for path in copies] == [DATA]
    copies[0].write_bytes(DATA[:99])  # cut off by someone: it isn't used
    assert open_remote(source(server)).pread(9, 0) == DATA[:9]
    server.objects["/v/a b.bin"] = DATA[::-1]
    monkeypatch.setattr(cache_module, "PIECE", len(DATA) // 3)
    begun = len(server.asked)
    server.fault = lambda number: "cut" if number == begun + 2 else "whole"
    assert open_remote(source(server)).pread(9, 0) == DATA[::-1][:9]
    assert len(server.asked) == begun + 4


def test_the_cache_is_bounded(server: RangeServer, tmp_path: Path) -> None:
    """What was used least recently goes, also an older version; a failed copy leaves nothing; an open copy stays."""
    size = 900_000
    for number in range(5):
        server.objects[f"/v/{number}.bin"] = bytes([number]) * size
    folder = tmp_path / "cache"
    use(Settings({"web": Store(server.url + "/v", **PATIENT)}, str(folder), 3 * size / 1e9))
    readers = []
    for step, number in enumerate((0, 1, 2, 0, 3)):
        readers.append(open_remote(source(server, f"{number}.bin")))
        assert readers[-1].pread(2, 7) == bytes([number]) * 2
        for path in folder.glob("*.*"):  # clocks of files are coarse
            os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns - 10**9))
        assert sum(path.stat().st_size for path in folder.glob("*.*")) == min(3, step + 1, len({0, 1, 2})) * size
    asked = len(server.asked)
    assert open_remote(source(server, "0.bin")).pread(1, 0) == b"\0"  # used again, and kept
    assert len(server.asked) == asked
    assert readers[1].pread(3, size - 3) == b"\1\1\1"  # evicted, and still open
    assert open_remote(source(server, "1.bin")).pread(1, 0) == b"\1"
    assert len(server.asked) > asked
    server.objects["/v/1.bin"] = b"\7" * size
    assert open_remote(source(server, "1.bin")).pread(1, 0) == b"\7"
    assert len({path.name.partition(".")[0] for path in folder.glob("*.*")}) == len(list(folder.glob("*.*"))) == 3
    server.fault = lambda number: "403"
    with pytest.raises(SourceError, match="denied"):
        open_remote(source(server, "4.bin")).pread(1, 0)
    assert not list(folder.glob("*.partial"))


def test_many_processes_copy_an_object_once(
    server: RangeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "PIECE", len(DATA) // 3)
    use(Settings({"web": Store(server.url + "/v", **{**PATIENT, "retries": 8})}, str(tmp_path), 0.1))
    server.fault = lambda number: "cut" if number == 0 else None
    context = multiprocessing.get_context("fork")
    jobs = [context.Process(target=_copy, args=(source(server), DATA)) for _ in range(4)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(20)
    assert [job.exitcode for job in jobs] == [0] * 4
    assert len(server.asked) == 4  # three pieces, of which the first was cut once


def _copy(known: Source, expected: bytes) -> None:
    made = cache_module.Cache(stores.settings().cache, 10**8).copy(known)
    assert made is not None
    assert made.pread(len(expected), 0) == expected
