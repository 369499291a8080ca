"""Sound, placed by its timestamps: mean over channels, resampled once."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import av
import numpy as np
import torch
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer

from avssl.media.info import AudioClip, MediaError, VideoInfo

PRE_ROLL = 0.1  # seconds decoded before the wanted span: at least four packets of every usual codec
_GAP = 0.01  # seconds by which timestamps may wander from a continuous stream before they count as a gap
_FULL_SCALE = {"u8": 128.0, "s16": 32768.0, "s32": 2147483648.0, "s64": 9.223372036854775808e18}


def audio_stream(container: InputContainer) -> AudioStream | None:
    """The sound that goes with the picture; None where there is none. It decodes in this thread only."""
    stream = container.streams.best("audio", related=container.streams.best("video"))
    if stream is None:
        return None
    assert isinstance(stream, AudioStream)
    if not stream.codec_context.is_open:
        stream.codec_context.thread_type = "NONE"
    return stream


def mono(frame: AudioFrame) -> np.ndarray:
    """``[S]`` float32 in [-1, 1]: the mean over channels of decoded sound, in the file's own rate."""
    samples = frame.to_ndarray()  # [C, S] planar, [1, S * C] packed
    if frame.format.is_packed:
        samples = samples.reshape(-1, frame.layout.nb_channels).T  # [C, S]
    mean = samples.mean(axis=0, dtype=np.float64)
    name = frame.format.name.removesuffix("p")
    if name in _FULL_SCALE:
        mean = (mean - (128 if name == "u8" else 0)) / _FULL_SCALE[name]
    return mean.astype(np.float32)


def read_audio(container: InputContainer, info: VideoInfo, start: float, stop: float, rate: int) -> AudioClip:
    """Read a span of sound. See ``VideoReader.audio``.

    Args:
        container: the open file; its position is moved.
        info: of the same file.
        start: seconds from the first shown frame.
        stop: seconds from the first shown frame.
        rate: samples a second of the result.

    Raises:
        MediaError: ``no_audio``, or ``corrupt`` where the span can't be decoded.
        ValueError: where the span is empty or the rate not positive.
    """
    if not (stop > start and rate > 0):
        raise ValueError(f"{info.path}: expected start < stop and rate > 0, got {start}, {stop} and {rate}")
    stream = audio_stream(container)
    if stream is None:
        raise MediaError(info.path, "no_audio", "there is no sound in this file", "Leave it out of audio-visual sets")
    count = round((stop - start) * rate)
    margin = round(PRE_ROLL * rate)  # samples of the result before and after the span, cut off again below
    begin = start - margin / rate
    source = stream.rate
    sound = np.zeros(round((count + 2 * margin) * source / rate), np.float32)
    known = [stop, start]
    for time, samples in _pieces(container, stream, info, begin, stop + margin / rate):
        known = [min(known[0], time), max(known[1], time + len(samples) / source)]
        place = round((time - begin) * source)
        left, right = max(place, 0), min(place + len(samples), len(sound))
        if left < right:
            sound[left:right] = samples[left - place : right - place]
    result = _resample(sound, source, rate)[margin : margin + count]
    valid = (max(start, known[0]), min(stop, known[1]))
    samples = np.zeros(count, np.float32)
    samples[: len(result)] = result
    return AudioClip(torch.from_numpy(samples), valid if valid[0] < valid[1] else (start, start))


def _resample(sound: np.ndarray, source: int, rate: int) -> np.ndarray:
    """``[S]`` float32 at another rate, its first sample at the same instant."""
    if source == rate:
        return sound
    frame = AudioFrame.from_ndarray(sound[None], format="flt", layout="mono")
    frame.sample_rate = source
    resampler = AudioResampler(format="flt", layout="mono", rate=rate)
    parts = [part.to_ndarray()[0] for part in chain(resampler.resample(frame), resampler.resample(None))]
    return np.concatenate(parts)


def _pieces(
    container: InputContainer, stream: AudioStream, info: VideoInfo, begin: float, end: float
) -> Iterator[tuple[float, np.ndarray]]:
    """Stretches of unbroken sound that cover a span: the second at which each begins, and its ``[S]`` samples."""
    pending: list[np.ndarray] = []
    offsets: list[float] = []  # where the piece began, as each frame's own timestamp has it
    length = 0
    for frame in _decoded(container, stream, info, begin):
        assert frame.pts is not None
        assert frame.time_base is not None
        time = float(frame.pts * frame.time_base) - info.origin
        if pending and abs(time - length / stream.rate - float(np.median(offsets))) > _GAP:
            yield float(np.median(offsets)), np.concatenate(pending)
            pending, offsets, length = [], [], 0
        if time >= end:
            break
        pending.append(mono(frame))
        offsets.append(time - length / stream.rate)
        length += frame.samples
    if pending:
        yield float(np.median(offsets)), np.concatenate(pending)


def _decoded(container: InputContainer, stream: AudioStream, info: VideoInfo, begin: float) -> Iterator[AudioFrame]:
    """Decoded frames from at least a pre-roll before a second, or from the first one that has sound."""
    assert stream.time_base is not None
    target = round((begin + info.origin) / stream.time_base)
    packets = _seek(container, stream, target) if info.seekable else container.demux(stream)
    for packet in packets:
        try:
            frames = packet.decode()
        except av.error.FFmpegError as error:
            where = float((packet.pts or 0) * stream.time_base) - info.origin
            why = f"the sound can't be decoded at {where:.2f} s ({type(error).__name__})"
            raise MediaError(info.path, "corrupt", why, "Leave it out of audio-visual sets") from error
        yield from (frame for frame in frames if frame.pts is not None)


def _seek(container: InputContainer, stream: AudioStream, target: int) -> Iterator[av.Packet]:
    """Packets from the last one that begins at or before a tick, found by backing off further and further."""
    assert stream.time_base is not None
    second = round(1 / stream.time_base)
    margin = 0
    while True:
        container.seek(target - margin, stream=stream)
        packets = container.demux(stream)
        first = next(packets, None)
        if first is None or first.pts is None or first.pts <= target or margin > target + 60 * second:
            return chain([first], packets) if first is not None else iter(())
        margin = 2 * margin or second
