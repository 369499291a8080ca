"""The bytes of objects in stores, by ranges: few requests for few clips, a copy for many.

A clip of a long recording takes its table of contents and the frames since a keyframe, so that blocks of 256 kB, more
of them where reading goes straight on, cost a few requests and about a megabyte. Where a cache is configured, an object
is copied there once what was read of it amounts to its size.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

from avssl.media.cache import Cache, CachedFile
from avssl.media.client import client_of
from avssl.media.places import check_key
from avssl.media.source import Source, SourceError
from avssl.media.stores import settings

BLOCK = 256 << 10  # bytes
RUN = 8  # blocks of one request, at most
MEMORY = 16 << 20  # bytes of blocks that a reader keeps
SMALL = RUN * BLOCK  # recordings up to this size take one request
STREAMS = 4  # places from which reading goes straight on: a picture, its sound, and what another track needs
UNCACHED = "Set data.cache to a folder with room for it, into which it is copied once, or make copies: avssl prepare"


class RemoteRange:
    """A recording in a store, read by ranges. See `open_remote`.

    Attributes:
        size: bytes of the recording.
        requests: number of requests so far, without repetitions.
        received: bytes received so far.
    """

    def __init__(self, source: Source) -> None:
        self.source, self.size = source, source.num_bytes
        self.requests = self.received = 0
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._ends: OrderedDict[int, int] = OrderedDict()  # block after a request: blocks of that request
        self._copy: CachedFile | None = None
        self._cache = _cache()
        if not self.size:
            self._measure()
        if self._cache is not None:
            self._copy = self._cache.find(self.source)
        if self._copy is None and 0 in self._blocks:
            self._refuse_fragments(self._blocks[0])

    def pread(self, n: int, offset: int) -> bytes:
        """Return ``n`` bytes from ``offset`` of the recording, fewer only at its end.

        Raises:
            SourceError: if they can't be had.
        """
        stop = min(offset + n, self.size)
        if offset >= stop:
            return b""
        parts = []
        for number in range(offset // BLOCK, (stop - 1) // BLOCK + 1):
            if self._copy is None and number not in self._blocks:
                self._load(number)
            if self._copy is not None:
                return self._copy.pread(stop - offset, self.source.offset + offset)
            self._blocks.move_to_end(number)
            parts.append(self._blocks[number])
        begin = offset // BLOCK * BLOCK
        return b"".join(parts)[offset - begin : stop - begin]

    def close(self) -> None:
        """Release the memory, and the copy's file."""
        self._blocks.clear()
        if self._copy is not None:
            self._copy.close()

    def _load(self, number: int) -> None:
        """Fetch a block, and those after it if reading goes straight on; or copy the object, if that costs less."""
        total = -(-self.size // BLOCK)
        if self.size <= SMALL:
            number = next(each for each in range(total) if each not in self._blocks)
            count = total - number
        else:
            before = self._ends.pop(number, 0)  # blocks of the request that ended here
            count = min(before + max(1, before // 2), RUN, total - number)
        count = next((more for more in range(1, count) if number + more in self._blocks), count)
        first = number * BLOCK
        length = min(count * BLOCK, self.size - first)
        if self._cache is not None and self._cache.worth(self.source, length) and self._use_copy(wait=False):
            return
        try:
            data = self._fetch(first, length)
        except SourceError as error:
            if error.code != "no_range" or not self._use_copy():
                raise
            return
        self._keep(number, data)
        self._ends[number + count] = count
        if len(self._ends) > STREAMS:
            self._ends.popitem(last=False)
        if number == 0:
            self._refuse_fragments(data)

    def _use_copy(self, wait: bool = True) -> bool:
        """Read from a copy from now on, if there is a cache that holds one."""
        self._copy = None if self._cache is None else self._cache.copy(self.source, wait)
        return self._copy is not None

    def _refuse_fragments(self, head: bytes) -> None:
        if self.size > SMALL and is_fragmented(head) and not self._use_copy():
            why = f"this mp4 is made of fragments: one clip would need most of its {self.size / 1e6:.0f} MB"
            raise SourceError(str(self.source), "fragmented", why, UNCACHED)

    def _fetch(self, first: int, length: int) -> bytes:
        source = self.source
        part = client_of(source.store).read(source.path, source.offset + first, length, source.size_bytes, source.etag)
        self.requests += 1
        self.received += len(part.data)
        if len(part.data) < length:
            why = f"it ends at byte {source.offset + first + len(part.data)}, within the recording"
            raise SourceError(str(source), "changed", why, "Index the collection again")
        if not source.etag:
            self.source = replace(source, etag=part.etag)  # what follows must be of this version
        return part.data

    def _keep(self, number: int, data: bytes) -> None:
        for place in range(0, len(data), BLOCK):
            self._blocks[number + place // BLOCK] = data[place : place + BLOCK]
        while len(self._blocks) > MEMORY // BLOCK:
            self._blocks.popitem(last=False)

    def _measure(self) -> None:
        """Find out size and version of a whole object, with its first block."""
        source = self.source
        part = client_of(source.store).read(source.path, 0, BLOCK, source.size_bytes, source.etag)
        self.requests, self.received, self.size = 1, len(part.data), part.size
        self.source = replace(source, num_bytes=part.size, size_bytes=part.size, etag=part.etag)
        self._keep(0, part.data)


def open_remote(source: Source) -> RemoteRange:
    """Open an object in a store, or a range of one. What it reads doesn't depend on the cache.

    Args:
        source: the store's name and the key; ``num_bytes`` 0 means the whole object, whose size and version are then
            asked for. Nothing is requested otherwise before the first read.

    Raises:
        SourceError: ``store_unknown``, ``key``, and for objects of unknown size every other code.
    """
    check_key(source.store, source.path)
    client_of(source.store)
    return RemoteRange(source)


def is_fragmented(head: bytes) -> bool:
    """Return True if the first bytes are those of an mp4 whose frames are listed in many places (``moof`` boxes)."""
    for kind, first, stop in _boxes(head, 0, len(head)):
        if kind in (b"moof", b"styp", b"sidx"):
            return True
        if kind == b"moov":
            return any(inner == b"mvex" for inner, _, _ in _boxes(head, first, stop))
    return False


def _boxes(data: bytes, position: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield (type, first byte of the content, end) of each box that begins in ``data``."""
    while position + 16 <= min(stop, len(data)):
        length, first = int.from_bytes(data[position : position + 4], "big"), position + 8
        if length == 1:
            length, first = int.from_bytes(data[first : first + 8], "big"), first + 8
        if length < first - position:
            return
        yield data[position + 4 : position + 8], first, position + length
        position += length


def _cache() -> Cache | None:
    current = settings()
    return None if current.cache is None else _made_cache(current.cache, current.cache_gb)


@lru_cache(maxsize=4)
def _made_cache(folder: str, gigabytes: float) -> Cache:
    return Cache(folder, round(gigabytes * 1e9))
