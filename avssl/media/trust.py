"""What can be trusted with a file: which readers return its frames, and how well its sound is aligned."""

from __future__ import annotations

from pathlib import Path

from avssl.media.files import has_box
from avssl.media.info import AudioInfo
from avssl.media.source import Source

_DECORD_CODECS = {"h264", "hevc", "mpeg4", "vp8", "vp9"}
_NO_DELAY = ("pcm", "flac", "alac", "vorbis", "opus")  # codecs without delay, or whose header states it


def readers(container: str, codec: str, plain: bool, as_stored: bool) -> tuple[str, ...]:
    """Return the readers that read such a file correctly, fastest first (measured by ``benchmarks/loading.py``).

    torchcodec and decord miscount or misplace frames in all but these two container families, and decord also where
    packets are to be discarded or frames are shown before the keyframe that precedes them in the file. Neither mirrors
    a picture or makes its pixels square.
    """
    if not as_stored or not container.startswith(("mov", "matroska")):
        return ("pyav",)
    return ("pyav", "torchcodec", "decord") if plain and codec in _DECORD_CODECS else ("pyav", "torchcodec")


def grade(path: Path | Source, container: str, audio: AudioInfo | None, signalled: bool, together: bool) -> str:
    """See ``VideoInfo.sync_grade``. FFmpeg versions disagree about sound in fragmented mp4 by up to three frames.

    Args:
        path: the file.
        container: FFmpeg's name of it.
        audio: the sound.
        signalled: the container's timestamps compensate for the encoder's delay.
        together: the clocks of sound and pictures start anew equally often.
    """
    if audio is None:
        return "none"
    precise = container.startswith("matroska") or (container.startswith("mov") and not has_box(path, b"moof"))
    return "exact" if precise and together and (signalled or audio.codec.startswith(_NO_DELAY)) else "unsignalled"
