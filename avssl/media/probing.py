"""Describe a recording by one pass over its packets."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream
from torch import Tensor

from avssl.media.audio import mono
from avssl.media.errors import MediaError
from avssl.media.files import DECODE_ERRORS, MAX_PIXELS, check_path, open_container, path_of, sniff
from avssl.media.image import EXTENSIONS, probe_image
from avssl.media.info import AudioInfo, VideoInfo
from avssl.media.joins import Joins, decode_pictures
from avssl.media.packets import is_gradual, is_hidden, skipped_samples
from avssl.media.source import Source
from avssl.media.timeline import Clock, Restarts, audio_stream, orientation, spacing, video_stream
from avssl.media.trust import grade, readers

_SILENCE = 1e-3  # of full scale: -60 dB
_MATRICES = {0, 1, 2, 4, 5, 6, 7, 9}  # of colours, by their number in H.273, which FFmpeg converts
_SEEN = 3  # frames that are decoded if all packets are marked as keys
_MARKED = 64  # entries of an mp4's index that are looked at


@dataclass
class _Picture:
    """Facts gathered about the video stream; times in ticks."""

    decodes: bool = False
    first: int | None = None  # tick of the first frame that decodes
    size: tuple[int, int] = (0, 0)
    rotation: int = 0
    mirrored: bool = False
    matrix: int = 0  # of the colours, by its number in H.273
    slanted: bool = False  # shown at another angle than a right one
    shown: list[int] = field(default_factory=list)
    undated: bool = False  # some times are missing, or start anew
    hides: bool = False  # the codec has frames that are never shown
    uncertain: bool = False  # packets don't tell which frames are shown and when
    keys: set[int] = field(default_factory=set)  # ticks of packets that decoding may start from
    others: int = 0  # packets that are none
    seen: list[bool] = field(default_factory=list)  # of the first decoded frames, whether each decodes on its own
    begun: int | None = None  # decoding time of the packet from which the first frame decodes
    held: int = 0  # packets that the decoder takes before the first frame comes out, where packets are counted
    last_key: int | None = None  # tick of the last key packet
    leading: bool = False  # frames are shown before the key packet that precedes them in the file
    gradual: bool = False  # from a key packet on, pictures become complete only by and by
    hidden: int | None = None  # lowest tick of the discarded packets after the first that is shown
    edits: bool = False  # several stretches of the stream are shown
    restarts: Restarts = field(default_factory=Restarts)
    discards: bool = False
    last_duration: int = 0


@dataclass
class _Sound:
    """Facts gathered about the audio stream; times in container seconds."""

    start: float | None = None
    end: float = 0.0
    rate: int = 0
    channels: int = 0
    loud: bool = False
    skipped: int | None = 0  # samples, see `skipped_samples`
    begun: bool = False  # its first packet was seen
    restarts: Restarts = field(default_factory=Restarts)


def probe(path: str | Path | Source, max_pixels: int = MAX_PIXELS) -> VideoInfo:
    """Describe a recording: duration, frame rate, size, sound, and which readers return its frames correctly.

    Args:
        path: a local file, or a source; an image, by its extension, is a recording of one frame.
        max_pixels: refuse larger frames.

    Raises:
        MediaError: if the file can't be used: ``url``, ``not_found``, ``not_file``, ``unreadable``, ``empty``,
            ``not_media``, ``playlist``, ``truncated``, ``corrupt``, ``no_video``, ``too_large`` or ``undecodable``.
        SourceError: if a source can't be read now.
    """
    return probe_frames(path, max_pixels)[0]


def probe_frames(path: str | Path | Source, max_pixels: int = MAX_PIXELS) -> tuple[VideoInfo, Tensor]:
    """Return what `probe` does, and the ``[T]`` float64 seconds at which each frame is shown."""
    path = check_path(path)
    if path_of(path).suffix.lower() in EXTENSIONS:
        return probe_image(path, max_pixels), torch.zeros(1, dtype=torch.float64)
    sniff(path)
    with open_container(path, max_pixels) as container:
        stream = video_stream(container)
        if stream is None:
            raise MediaError(path, "no_video", "there is no video stream in it", "Leave it out, or check the download")
        codec = stream.codec_context
        if codec.width * codec.height * max(1, stream.sample_aspect_ratio or 1) > max_pixels or not codec.width:
            why = f"its frames of {codec.width} x {codec.height} exceed {max_pixels} pixels, or have no size"
            raise MediaError(path, "too_large", why, "Scale it down first, or raise max_pixels")
        codec.options = {"max_pixels": str(max_pixels)}
        clock = Clock(container, stream)
        sound_stream = audio_stream(container)
        picture, sound = _scan_packets(container, stream, sound_stream, clock)
        if picture.decodes and (picture.uncertain or picture.undated or (clock.counted and clock.period > 1)):
            picture.uncertain = True
            picture.shown, parts = decode_pictures(path, max_pixels)
            picture.first = picture.shown[0] if picture.shown else None
            if sound.start is not None and len(parts) > 1:
                sound.end = Joins(path, parts).end_of_sound()
        if picture.first is None:
            why = f"no frame of its {codec.name} video decodes"
            raise MediaError(path, "undecodable", why, "Fetch or convert it again")
        if picture.matrix not in _MATRICES:
            why = f"its colours can't be converted to RGB (matrix coefficients {picture.matrix} of H.273)"
            raise MediaError(path, "undecodable", why, "Convert it to BT.709 with another tool")
        info = _describe(path, container, stream, clock, picture, sound_stream, sound)
        if isinstance(path, Source):  # other libraries open whole files only
            info = replace(info, source=path, backends=("pyav",))
        ticks = torch.tensor(picture.shown or [picture.first], dtype=torch.float64)
        return info, (ticks - ticks[0]) * float(clock.base)


def _scan_packets(
    container: InputContainer, stream: VideoStream, sound_stream: AudioStream | None, clock: Clock
) -> tuple[_Picture, _Sound]:
    """Read all packets, decoding only up to the first frame and the first audible sound."""
    picture, sound = _Picture(hides=stream.codec_context.codec.canonical_name in ("vp8", "vp9")), _Sound()
    streams = [stream] if sound_stream is None else [stream, sound_stream]
    packets = container.demux(streams)
    while True:
        try:
            packet = next(packets, None)
        except DECODE_ERRORS:
            break  # the rest is missing: keep what is there; decoding it will show how far it goes
        if packet is None:
            break
        if packet.stream is stream:
            _note_picture(picture, packet, clock)
        else:
            _note_sound(sound, packet)
    picture.shown = sorted(tick for tick in picture.shown if picture.first is not None and tick >= picture.first)
    if picture.shown and not picture.uncertain:
        picture.shown += [picture.shown[-1] + 1 + extra for extra in range(picture.held)]
    return picture, sound


def _note_picture(picture: _Picture, packet: av.Packet, clock: Clock) -> None:
    # If all packets are marked as keys, look at a few frames.
    doubtful = not picture.others and len(picture.keys) > 1 and len(picture.seen) < _SEEN
    if not picture.decodes and packet.is_keyframe:
        picture.begun = packet.dts
    if not picture.decodes or doubtful:
        try:
            frames = packet.decode()
        except DECODE_ERRORS:
            frames = []
        for frame in frames:
            assert isinstance(frame, VideoFrame)
            picture.seen.append(frame.pict_type in (PictureType.I, PictureType.NONE))
            if picture.decodes:
                continue
            picture.decodes, picture.first = True, clock.frame(frame)
            if clock.counted and frame.dts is not None and picture.begun is not None:
                picture.held = max(clock.delay, frame.dts - picture.begun)
            picture.uncertain = frame.interlaced_frame and packet.stream.codec_context.name == "h264"
            picture.rotation, picture.mirrored = orientation(frame)
            picture.slanted = bool(frame.rotation % 90)
            picture.size = (frame.height, frame.width)
            picture.matrix = int(frame.colorspace)
    if not packet.size:
        return
    tick = clock.packet(packet)
    if packet.is_discard:
        picture.discards = True
        if picture.shown and tick is not None:
            picture.hidden = tick if picture.hidden is None else min(picture.hidden, tick)
        return
    picture.undated |= picture.restarts.at(packet)
    if tick is None:
        picture.undated = True
        return
    if packet.is_keyframe:
        picture.gradual |= len(picture.keys) == 1 and is_gradual(packet)
        picture.keys.add(tick)
        picture.last_key = tick
    else:
        picture.others += 1
        picture.leading |= picture.last_key is not None and tick < picture.last_key
    picture.edits |= picture.hidden is not None and tick > picture.hidden
    picture.uncertain = picture.uncertain or (picture.hides and is_hidden(packet))
    if not picture.shown or tick >= max(picture.shown[-8:]):
        picture.last_duration = packet.duration or 0
    picture.shown.append(tick)


def _note_sound(sound: _Sound, packet: av.Packet) -> None:
    base = packet.time_base
    sound.restarts.at(packet)
    if sound.start is None or not sound.loud:
        try:
            frames = packet.decode()
        except DECODE_ERRORS:
            frames = []
        for frame in frames:
            if sound.start is None and frame.pts is not None:
                sound.start, sound.rate, sound.channels = (
                    float(frame.pts * frame.time_base),
                    frame.sample_rate,
                    frame.layout.nb_channels,
                )
            sound.loud = sound.loud or bool(np.abs(mono([frame])).max(initial=0) > _SILENCE)
    if packet.size and packet.pts is not None:
        if not sound.begun:
            sound.begun, sound.skipped = True, skipped_samples(packet)
        sound.end = max(sound.end, float((packet.pts + (packet.duration or 0)) * base))


def _describe(
    path: Path | Source,
    container: InputContainer,
    stream: VideoStream,
    clock: Clock,
    picture: _Picture,
    sound_stream: AudioStream | None,
    sound: _Sound,
) -> VideoInfo:
    """Convert ticks to seconds from the first shown frame."""
    assert picture.first is not None
    ticks = np.array(picture.shown or [picture.first], dtype=np.int64)
    count = len(ticks)
    rate = stream.average_rate
    vfr, period = spacing(ticks, float(1 / (rate * clock.base)) if rate else float(picture.last_duration or 1))
    last = picture.last_duration if vfr and picture.last_duration else period
    duration = float((int(ticks[-1] - ticks[0]) + last) * clock.base)
    origin = float(int(ticks[0]) * clock.base)
    distinct = not picture.undated and len(np.unique(ticks)) == count
    reordered = clock.delay > 0 or container.format.name == "mpeg"
    startable = stream.codec_context.pix_fmt != "pal8"  # or the palette may come with the first packet only
    index, as_indexed = stream.index_entries, True
    if container.format.name.startswith("mov") and picture.others:  # FFmpeg's parser knew better than the index
        looked_at = range(min(len(index), _MARKED))
        as_indexed = len(index) < 2 or not all(index[place].is_keyframe for place in looked_at)
    startable &= not picture.gradual and not picture.edits and (picture.others > 0 or all(picture.seen))
    if picture.uncertain:
        startable &= picture.keys.issubset(picture.shown)  # not at the second field of a frame
    codec = stream.codec_context.codec.canonical_name
    size = _shown_size(picture, stream.sample_aspect_ratio)
    stored = picture.size[::-1] if picture.rotation % 180 else picture.size
    as_stored = (
        as_indexed and size == stored and not (picture.mirrored or picture.slanted or picture.uncertain) and startable
    )
    together = sound.restarts.count == picture.restarts.count
    audio = None
    if sound_stream is not None and sound.start is not None:
        audio = AudioInfo(
            rate=sound.rate,
            channels=sound.channels,
            start=sound.start - origin,
            duration=sound.end - sound.start,
            codec=sound_stream.codec_context.codec.canonical_name,
            silent=not sound.loud,
        )
    return VideoInfo(
        path=path_of(path),
        duration=duration,
        fps=count / duration if vfr else 1 / (period * float(clock.base)),
        size=size,
        audio=audio,
        origin=origin,
        num_frames=count,
        vfr=vfr,
        codec=codec,
        container=container.format.name,
        rotation=picture.rotation,
        mirrored=picture.mirrored,
        seekable=distinct and startable and not reordered,
        backends=readers(
            container.format.name, codec, distinct and not (picture.discards or picture.leading), as_stored
        ),
        sync_grade=grade(path, container.format.name, audio, sound.skipped, together),
    )


def _shown_size(picture: _Picture, aspect: Fraction | None) -> tuple[int, int]:
    """Return (height, width) of the upright picture with square pixels: the height is kept.

    Args:
        picture: the stored size and the turn.
        aspect: width of a stored pixel divided by its height; None if unknown.
    """
    height, width = picture.size
    if picture.rotation % 180:
        height, width, aspect = width, height, 1 / aspect if aspect else None
    return height, max(1, math.floor(width * (aspect or 1) + Fraction(1, 2)))
