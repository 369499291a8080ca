"""Places of clips in a recording, and cutting: pictures are copied, not encoded again."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av

from avssl.avsync.observe import LOUDNESS_RATE, Observed
from avssl.avsync.options import Cut
from avssl.avsync.reasons import Rejection
from avssl.catalog.encode import MUXING, pieces
from avssl.media import VideoInfo, open_video
from avssl.media.files import open_container

SLACK = 1e-3  # seconds of sound that may be missing at either end: Matroska rounds times to as much
MOVES = 4e-3  # least mean grey difference, of full scale, in the liveliest of 64 blocks of frames that differ


class Span(NamedTuple):
    """A stretch of a normalised recording: frames ``start`` to ``stop``, exclusive."""

    start: int
    stop: int


def find_clips(observed: Observed, fps: Fraction, options: Cut) -> list[Span]:
    """Return the clips within the shots, as far as there is sound; each begins at a keyframe."""
    shortest, length = clip_lengths(options, fps)
    stride = length if options.stride is None else max(1, round(options.stride * fps))
    first = math.ceil((observed.sound[0] - SLACK) * fps)
    last = min(len(observed.motion), math.floor((observed.sound[1] + SLACK) * fps))
    spans = []
    for begin, end in zip(observed.cuts, [*observed.cuts[1:], len(observed.motion)], strict=True):
        end, wanted = min(int(end), last), max(int(begin), first)
        for start in observed.keyframes.tolist():
            stop = min(start + length, end)
            if start >= wanted and stop - start >= shortest:
                spans.append(Span(start, stop))
                wanted = start + stride
    return spans


def check_clip(observed: Observed, span: Span, fps: Fraction, options: Cut) -> Rejection | None:
    """Return why a clip is not worth keeping, whatever its offset; None if it is."""
    moved = observed.liveliest[span.start + 1 : span.stop]
    still = float((moved < MOVES).mean()) if len(moved) else 1.0
    if still > options.still:
        return Rejection("still", f"{still:.0%} of its frames equal the previous one")
    loudness = observed.loudness[round(span.start / fps * LOUDNESS_RATE) : round(span.stop / fps * LOUDNESS_RATE)]
    peak = 20 * math.log10(max(float(loudness.max(initial=0)), 1e-6))
    if peak < options.quiet:
        return Rejection("silent", f"its loudest sample lies at {peak:.0f} dB of full scale")
    return None


def with_sound(observed: Observed, span: Span, shift: float, fps: Fraction, options: Cut) -> Span | Rejection:
    """Return the part of a clip that has sound after moving it ``shift`` seconds earlier, if that is long enough."""
    first = math.ceil((observed.sound[0] - shift - SLACK) * fps)
    stop = min(span.stop, math.floor((observed.sound[1] - shift + SLACK) * fps))
    start = next((key for key in observed.keyframes.tolist() if key >= max(first, span.start)), stop)
    if stop - start >= clip_lengths(options, fps)[0]:
        return Span(start, stop)
    begin, end = float(span.start / fps) + shift, float(span.stop / fps) + shift
    return Rejection("sound_missing", f"it would need sound from {begin:.2f} to {end:.2f} s of the recording")


def clip_lengths(options: Cut, fps: Fraction) -> tuple[int, int]:
    """Return the numbers of frames of the shortest and of the longest clip."""
    longest = max(1, int(options.seconds * fps + 1e-6))
    return longest if options.min_seconds is None else max(1, int(options.min_seconds * fps + 1e-6)), longest


def cut_clip(info: VideoInfo, span: Span, shift: float, fps: Fraction, target: Path, codec: str = "flac") -> None:
    """Write a clip: the recording's own pictures, and the sound from ``shift`` seconds later.

    It has ``round(seconds * rate)`` samples, the first of which is heard as the first frame appears. A positive shift
    corrects sound that is late. The span starts at a keyframe of the normalised recording, whose packets lie in the
    order shown, as it has no B-frames.
    """
    assert info.audio is not None
    rate = info.audio.rate
    start, stop = float(span.start / fps), float(span.stop / fps)
    with open_video(info.path, "pyav", info) as reader:
        samples = reader.audio(start + shift, stop + shift, rate).samples
    with open_container(info.path) as source, av.open(f"file:{target.absolute()}", "w", "mp4", options=MUXING) as out:
        stream = source.streams.video[0]
        video = out.add_stream_from_template(stream)
        audio = out.add_stream(codec, rate=rate, layout="mono", format="s16" if codec == "flac" else "s16p")
        assert stream.time_base is not None
        first, end = (round(number / fps / stream.time_base) for number in span)
        source.seek(first, stream=stream)
        for packet in source.demux(stream):
            if packet.pts is None or packet.pts < first:
                continue
            if packet.pts >= end:
                break
            packet.pts, packet.dts = packet.pts - first, packet.pts - first
            packet.stream = video
            out.mux(packet)
        for frame in pieces(samples, rate):
            out.mux(audio.encode(frame))
        out.mux(audio.encode(None))
