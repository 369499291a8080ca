"""What the bytes of a packet say about its frame."""

from __future__ import annotations

import av


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
