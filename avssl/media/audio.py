"""Read sound by its timestamps: averaged over channels, or channel by channel, resampled once."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, groupby
from operator import itemgetter

import av
import numpy as np
import torch
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer

from avssl.media.errors import MediaError
from avssl.media.files import DECODE_ERRORS, open_container, place_of
from avssl.media.info import AudioClip, VideoInfo
from avssl.media.joins import WHOLE, Joins, Part
from avssl.media.resample import resample
from avssl.media.timeline import audio_stream, video_stream

_PRE_ROLL = 0.1  # seconds decoded before the requested span: at least four packets of any common codec
_GAP = 0.01  # seconds of timestamp drift in a continuous stream that count as a gap
_SAMPLES = {  # by FFmpeg sample format: data type, silence value and full scale
    "u8": ("u1", 128, 128),
    "s16": ("i2", 0, 2**15),
    "s32": ("i4", 0, 2**31),
    "s64": ("i8", 0, 2**63),
    "flt": ("f4", 0, 1),
    "dbl": ("f8", 0, 1),
}


def mono(frames: list[AudioFrame]) -> np.ndarray:
    """Average consecutive decoded frames over channels: ``[S]`` float32 in [-1, 1], at the file's own rate."""
    dtype, zero, scale = _SAMPLES[frames[0].format.name.removesuffix("p")]
    channels = frames[0].layout.nb_channels
    planes = [frame.planes for frame in frames]
    width = 1 if frames[0].format.is_planar else channels  # values per plane and sample
    total: np.ndarray = np.zeros(sum(frame.samples for frame in frames), np.float32 if dtype == "f4" else np.float64)
    for plane in range(len(planes[0])):
        values = np.concatenate(
            [
                np.frombuffer(memoryview(own[plane]), dtype, frame.samples * width)
                for own, frame in zip(planes, frames, strict=True)
            ]
        )
        total += values if width == 1 else values.reshape(-1, width).sum(axis=1, dtype=total.dtype)
    return ((total / channels - zero) / scale).astype(np.float32, copy=False)


def channelled(frames: list[AudioFrame], channels: int) -> np.ndarray:
    """Return the first channels of consecutive decoded frames, in the decoder's order: ``[channels, S]`` float32.

    They are in [-1, 1], at the file's own rate.
    """
    dtype, zero, scale = _SAMPLES[frames[0].format.name.removesuffix("p")]
    width = 1 if frames[0].format.is_planar else frames[0].layout.nb_channels
    pieces = [
        np.stack([np.frombuffer(memoryview(plane), dtype, frame.samples * width) for plane in frame.planes])
        for frame in frames
    ]  # [channels of the file, S], or [1, S channels] interleaved
    values = np.concatenate([piece if width == 1 else piece.reshape(-1, width).T for piece in pieces], axis=1)
    return ((values[:channels].astype(np.float64) - zero) / scale).astype(np.float32)


def read_audio(
    container: InputContainer,
    info: VideoInfo,
    start: float,
    stop: float,
    rate: int,
    joins: Joins | None = None,
    channels: int = 1,
) -> AudioClip:
    """Read the sound from ``start`` to ``stop`` (see ``VideoReader.audio``); moves the container's file position.

    ``joins`` keeps what is found out about a joined file for the next call.

    Raises:
        MediaError: ``no_audio``, ``few_channels``, or ``corrupt`` if the span can't be decoded.
        ValueError: if the span is empty, or the rate or the number of channels is not positive.
    """
    if not (stop > start and rate > 0 and channels > 0):
        raise ValueError(
            f"{info.path}: expected start < stop, rate > 0 and channels > 0, got {start}, {stop}, {rate} and {channels}"
        )
    stream = audio_stream(container)
    if stream is None:
        raise MediaError(info.path, "no_audio", "there is no sound in this file", "Leave it out of audio-visual sets")
    count = round((stop - start) * rate)
    margin = round(_PRE_ROLL * rate)  # output samples before and after the span, cut off again below
    begin, end = start - margin / rate, stop + margin / rate
    source = info.audio.rate if info.audio else stream.rate
    length = -(-(count + 2 * margin) * source // rate)
    sound = np.zeros(length if channels == 1 else (channels, length), np.float32)
    first, last = stop, start  # seconds at which the decoded sound begins and ends
    for part, frames in groupby(_decoded(container, stream, info, begin, end, joins), itemgetter(0)):
        low, high = (min(max(0, (edge - info.origin - begin) * source), length) for edge in (part.start, part.stop))
        sound[..., round(low) :] = 0  # what the part before has after its pictures
        for time, decoded in _pieces((time, frame) for _, time, frame in frames):
            piece = _resampled(_joined(decoded, channels, info), decoded[0].sample_rate, source)
            size, place = piece.shape[-1], round((time - begin) * source)
            left, right = max(place, round(low)), min(place + size, round(high))
            if left < right:
                sound[..., left:right] = piece[..., left - place : right - place]
                first, last = min(first, time), max(last, time + size / source)
    samples = torch.from_numpy(_resampled(sound, source, rate)[..., margin : margin + count].copy())
    valid = (max(start, first), min(stop, last))
    return AudioClip(samples, valid if valid[0] < valid[1] else (start, start))


def _joined(frames: list[AudioFrame], channels: int, info: VideoInfo) -> np.ndarray:
    """Return the samples of frames of one format: ``[S]`` for a single channel, else ``[channels, S]``."""
    if channels == 1:
        return mono(frames)
    if frames[0].layout.nb_channels < channels:
        why = f"the sound has {frames[0].layout.nb_channels} channels, {channels} were asked for"
        raise MediaError(info.place, "few_channels", why, "Leave it out, or ask for the mean of its channels")
    return channelled(frames, channels)


def _resampled(sound: np.ndarray, source: int, rate: int) -> np.ndarray:
    """Resample ``[S]``, or each row of ``[C, S]``."""
    return (
        resample(sound, source, rate) if sound.ndim == 1 else np.stack([resample(one, source, rate) for one in sound])
    )


def _pieces(frames: Iterator[tuple[float, AudioFrame]]) -> Iterator[tuple[float, list[AudioFrame]]]:
    """Yield each continuous stretch of sound of one format: its start in seconds and its frames.

    The start is the median over what the stretch's frames imply, as timestamps may be rounded (to 1 ms in Matroska).
    """
    held: list[AudioFrame] = []
    begins: list[float] = []  # start of the stretch in seconds, as implied by each frame
    length = 0
    for time, frame in frames:
        begin = time - length / frame.sample_rate
        if held and (abs(begin - begins[0]) > _GAP or _format(frame) != _format(held[0])):
            yield float(np.median(begins)), held
            begin, held, begins, length = time, [], [], 0
        held.append(frame)
        begins.append(begin)
        length += frame.samples
    if held:
        yield float(np.median(begins)), held


def _format(frame: AudioFrame) -> tuple[str, int, int]:
    return frame.format.name, frame.layout.nb_channels, frame.sample_rate


def _decoded(
    container: InputContainer,
    stream: AudioStream,
    info: VideoInfo,
    begin: float,
    end: float,
    joins: Joins | None,
) -> Iterator[tuple[Part, float, AudioFrame]]:
    """Yield the decoded frames that cover a span, as far as there is sound, each with its part and start in seconds.

    What doesn't decode at the very end of the sound is missing; anywhere else it is an error.
    """
    assert stream.time_base is not None
    base = float(stream.time_base)
    first = round((info.origin + (info.audio.start if info.audio else 0.0)) / base)
    target = max(first, round((info.origin + begin) / base))
    failed: tuple[float, Exception] | None = None
    packets: Iterator[tuple[Part, av.Packet]]
    if info.seekable:
        packets = ((WHOLE, packet) for packet in _packets(container, stream, info, target, first))
    else:
        both = _until_cut_off(container.demux(video_stream(container), stream), info)
        packets = (joins or Joins(place_of(info))).sound(both, stream, info.origin + end)
    for part, packet in packets:
        try:
            frames = packet.decode()
        except DECODE_ERRORS as error:
            failed = failed or ((packet.pts or 0) * base - info.origin, error)
            continue
        for frame in frames:
            if frame.pts is None:
                continue
            if failed and packet.size:
                raise _corrupt(info, *failed)
            time = frame.pts * base - info.origin
            if time < end:
                yield part, time, frame
            elif info.seekable:
                return


def _corrupt(info: VideoInfo, where: float, error: Exception) -> MediaError:
    why = f"the sound can't be decoded at {where:.2f} s ({type(error).__name__})"
    return MediaError(info.place, "corrupt", why, "Leave it out of audio-visual sets")


def _packets(
    container: InputContainer, stream: AudioStream, info: VideoInfo, target: int, first: int
) -> Iterator[av.Packet]:
    """Yield packets from a tick or before it to the end of the file, or to where it is cut off."""
    try:
        packets = _seek(container, stream, target, first)
    except DECODE_ERRORS:  # such as an index without keyframes of the sound: read from the start
        with open_container(place_of(info)) as whole:
            yield from _until_cut_off(whole.demux(audio_stream(whole)), info)
        return
    yield from _until_cut_off(packets, info)


def _until_cut_off(packets: Iterator[av.Packet], info: VideoInfo) -> Iterator[av.Packet]:
    where = 0.0
    while True:
        try:
            packet = next(packets, None)
        except (av.error.InvalidDataError, IndexError):
            return
        except DECODE_ERRORS as error:
            raise _corrupt(info, where, error) from error
        if packet is None:
            return
        if packet.pts is not None:
            where = float(packet.pts * packet.time_base) - info.origin
        yield packet


def _seek(container: InputContainer, stream: AudioStream, target: int, first: int) -> Iterator[av.Packet]:
    """Return packets from the last one that starts at or before a tick, found by seeking further and further back."""
    assert stream.time_base is not None
    second = round(1 / stream.time_base)
    margin = 0
    while True:
        place = max(target - margin, first)
        container.seek(place, stream=stream)
        packets = container.demux(stream)
        packet = next(packets, None)
        if packet is None:
            return iter(())
        if packet.pts is None or packet.pts <= target or place == first:
            return chain([packet], packets)
        margin = 2 * margin or second
