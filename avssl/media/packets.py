"""What the bytes of a packet say about its frame."""

from __future__ import annotations

from collections.abc import Iterator

import av

_SEI, _RECOVERY_POINT = 6, 6  # by their numbers in H.264: a NAL unit, and a message in it


def is_hidden(packet: av.Packet) -> bool:
    """Return True for a packet of VP8 or VP9 that only serves as a reference for others."""
    codec = packet.stream.codec_context.name
    if not codec.startswith(("vp8", "vp9", "libvpx")):
        return False
    data = memoryview(packet)
    if not codec.endswith("9"):
        return not data[0] & 0x10
    exists, shows = (0x04, 0x01) if data[0] & 0x30 == 0x30 else (0x08, 0x02)  # profile 3 has one bit more before them
    return data[-1] & 0xE0 != 0xC0 and not data[0] & (exists | shows)  # a superframe shows one of its frames


def skipped_samples(packet: av.Packet) -> int | None:
    """Return the number of samples that a player is to skip, by the first packet of the sound.

    None if the sound begins after the container's clock: what precedes it, such as an encoder's delay, is then dated.
    """
    if packet.has_sidedata("skip_samples"):
        return int.from_bytes(bytes(packet.get_sidedata("skip_samples"))[:4], "little")
    if packet.pts is not None and packet.pts > 0:
        return None
    return 0 if packet.pts is None else round(-packet.pts * packet.time_base * _rate(packet))


def _rate(packet: av.Packet) -> int:
    rate: int = packet.stream.codec_context.sample_rate
    return rate


def is_gradual(packet: av.Packet) -> bool:
    """Return True for a packet of H.264 from which on pictures become complete only by and by (intra-refresh)."""
    if packet.stream.codec_context.name != "h264":
        return False
    for unit in _units(bytes(packet), packet.stream.codec_context.extradata or b""):
        if unit[0] & 0x1F in (1, 5):
            return False  # the picture itself
        if unit[0] & 0x1F == _SEI and (message := _message(unit[1:], _RECOVERY_POINT)):
            return message[0] < 0x80  # the number of frames until then, coded as "1" if it is 0
    return False


def _units(data: bytes, header: bytes) -> Iterator[bytes]:
    """Yield the NAL units of a packet of H.264, each without its start code or length."""
    if header[:1] != b"\x01":  # start codes, as in MPEG-TS
        yield from (unit for unit in data.split(b"\0\0\1") if unit.strip(b"\0"))
        return
    width, place = (header[4] & 3) + 1, 0
    while place + width < len(data):
        length = int.from_bytes(data[place : place + width], "big")
        if length:
            yield data[place + width : place + width + length]
        place += width + length


def _message(data: bytes, wanted: int) -> bytes:
    """Return the content of a message of supplemental information, or nothing if it isn't there."""
    place = 0
    while place + 2 < len(data):
        numbers = []
        for _ in range(2):  # type and length, in bytes of 255 and a last one
            number = 0
            while place < len(data) and data[place] == 255:
                number, place = number + 255, place + 1
            numbers.append(number + data[place] if place < len(data) else 0)
            place += 1
        if numbers[0] == wanted:
            return data[place : place + numbers[1]]
        place += numbers[1]
    return b""
