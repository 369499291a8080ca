"""What can be trusted with a file: which readers return its frames, and how well its sound is aligned."""

from __future__ import annotations

import math
from pathlib import Path

from avssl.media.files import has_box
from avssl.media.info import AudioInfo
from avssl.media.source import Source

_DECORD_CODECS = {"h264", "hevc", "mpeg4", "vp8", "vp9"}
_NO_DELAY = ("pcm", "flac", "alac", "vorbis", "opus")  # codecs without delay, or whose header states it
_DELAYS = {  # samples by which the usual encoders of a codec delay the sound
    "aac": (1024, 1600, 2048, 2112, 2624),  # FFmpeg, Fraunhofer, fdk, Apple, Nero
    "mp3": (529, 1105, 1152),  # the decoder's alone; LAME's with it; a frame
    "mp2": (481,),
    "ac3": (256,),
    "eac3": (256,),
}
_MOST = {"aac": 2112}  # samples, of encoders in use; of other codecs the largest of the above
_ROUNDED = 5e-4  # seconds: some containers state times in milliseconds


def readers(container: str, codec: str, plain: bool, as_stored: bool) -> tuple[str, ...]:
    """Return the readers that read such a file correctly, fastest first (measured by ``benchmarks/loading.py``).

    torchcodec and decord miscount or misplace frames in all but these two container families, and decord also where
    packets are to be discarded or frames are shown before the keyframe that precedes them in the file. Neither mirrors
    a picture or makes its pixels square.
    """
    if not as_stored or not container.startswith(("mov", "matroska")):
        return ("pyav",)
    return ("pyav", "torchcodec", "decord") if plain and codec in _DECORD_CODECS else ("pyav", "torchcodec")


def largest_delay(codec: str, rate: int) -> float:
    """Return the seconds by which sound may be late if its container doesn't state the encoder's delay; or infinity."""
    if codec.startswith(_NO_DELAY):
        return 0.0
    return _MOST.get(codec, max(_DELAYS.get(codec, (math.inf,)))) / rate


def is_delay(codec: str, rate: int, skipped: int) -> bool:
    """Return whether so many samples, skipped at the beginning, are an encoder's delay.

    A cut that copies packets skips what lies before it, and then nothing tells whether the delay was stated before.
    """
    if codec not in _DELAYS:
        return skipped > 0
    return any(abs(skipped - delay) <= _ROUNDED * rate for delay in _DELAYS[codec])


def grade(path: Path | Source, container: str, audio: AudioInfo | None, skipped: int | None, together: bool) -> str:
    """See ``VideoInfo.sync_grade``. FFmpeg versions disagree about sound in fragmented mp4 by up to three frames.

    Args:
        path: the file.
        container: FFmpeg's name of it.
        audio: the sound.
        skipped: samples that the container lets a player skip at the beginning: the encoder's delay, if it is one; None
            if the sound begins later.
        together: the clocks of sound and pictures start anew equally often.
    """
    if audio is None:
        return "none"
    precise = container.startswith("matroska") or (container.startswith("mov") and not has_box(path, b"moof"))
    stated = skipped is None or audio.codec.startswith(_NO_DELAY) or is_delay(audio.codec, audio.rate, skipped)
    return "exact" if precise and together and stated else "unsignalled"
