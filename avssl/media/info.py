"""Facts about a recording before any of it is decoded. All times are seconds from the first shown frame."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from torch import Tensor

if TYPE_CHECKING:
    from avssl.media.source import Source

MOTION_RATE = 8  # values of VideoInfo.motion per second


@dataclass(frozen=True)
class AudioInfo:
    """The audio stream of a recording.

    Attributes:
        rate: sampling rate of the file, in Hz.
        channels: number of channels in the file.
        start: seconds at which the sound begins; negative if before the first shown frame.
        duration: seconds of sound.
        codec: FFmpeg's name of the codec.
        silent: True if no sample is louder than -60 dB of full scale.
    """

    rate: int
    channels: int
    start: float
    duration: float
    codec: str
    silent: bool = False


@dataclass(frozen=True)
class VideoInfo:
    """One recording, or a segment of one: one row of a manifest.

    Attributes:
        path: the file; for a member of a tar, as if the tar were a folder; for an object, ``STORE:key``.
        duration: seconds from the first shown frame to the end of the last one.
        fps: mean frame rate, in frames per second.
        size: (height, width) as shown: turned upright, with square pixels.
        audio: the sound, or None.
        label: class number, for evaluation only; None unless it has exactly one.
        group: a unit that must not be split between training and test (a source video, a subject).
        view: the camera, among several synchronised ones of one group.
        motion: ``[ceil(8 * duration)]`` amount of motion in each eighth of a second (mean absolute grey difference,
            0 to 1), or None if not measured.
        origin: container time of the first shown frame, in seconds.
        num_frames: number of *shown* frames.
        vfr: True if frames are not evenly spaced.
        codec: FFmpeg's name of the video codec.
        container: FFmpeg's name of the container.
        rotation: degrees clockwise by which the stored picture is rotated for display.
        mirrored: True if the stored picture is mirrored left to right for display, before it is rotated.
        start: seconds from the file's first shown frame to the first one of this segment; 0 for whole files. All other
            times count from the segment's first frame, and ``duration`` and ``num_frames`` end with it; the sound is
            that of the whole file.
        name: the annotation's own name of the segment, or None.
        labels: class numbers, ascending, for evaluation only; empty if it shows none of the classes, None if it isn't
            annotated.
        source: where the bytes are, unless they are the whole local file ``path``.
        seekable: False if only decoding from the start gives the right frames.
        backends: the readers that return the right frames of this file, fastest first.
        sync_grade: reliability of the alignment of sound and picture: ``"exact"`` (to 1 ms), ``"unsignalled"`` (the
            container can't state the encoder's delay of the sound), ``"none"`` (no sound).
    """

    path: Path
    duration: float
    fps: float
    size: tuple[int, int]
    audio: AudioInfo | None = None
    label: int | None = None
    group: str | None = None
    view: str | None = None
    motion: Tensor | None = None
    origin: float = 0.0
    num_frames: int = 0
    vfr: bool = False
    codec: str = ""
    container: str = ""
    rotation: int = 0
    seekable: bool = True
    backends: tuple[str, ...] = ("pyav",)
    sync_grade: str = "none"
    mirrored: bool = False
    start: float = 0.0
    name: str | None = None
    labels: tuple[int, ...] | None = None
    source: Source | None = None

    @property
    def place(self) -> str:
        """The path, with the seconds of a segment that starts later, such as ``kitchen.mp4@12.4-18``."""
        if not self.start:
            return str(self.path)
        return f"{self.path}@{self.start:.6g}-{self.start + self.duration:.6g}"


class AudioClip(NamedTuple):
    """A stretch of sound.

    Attributes:
        samples: ``[S]`` float32 mono in [-1, 1], ``[C, S]`` if channels were asked for; zero where the file has no
            sound.
        valid: (start, stop) in seconds of the part of the span that has sound in the file; equal if none has.
    """

    samples: Tensor
    valid: tuple[float, float]


class VideoReader(Protocol):
    """An open recording. Use it in a ``with`` block, in the process and thread that opened it."""

    info: VideoInfo

    def frames(self, times: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Read the frames shown at the given times.

        Args:
            times: ``[T]`` seconds in [0, ``info.duration``), in any order, duplicates allowed. The frame shown at t is
                the last one whose presentation time is not after t.
            size: (height, width) to scale to while decoding; None keeps the size as shown.

        Returns:
            ``[T, 3, H, W]`` uint8 RGB, in the requested order.

        Raises:
            MediaError: if a frame can't be decoded.
            ValueError: if a time lies outside the recording.
        """

    def audio(self, start: float, stop: float, rate: int, channels: int = 1) -> AudioClip:
        """Read ``round((stop - start) * rate)`` samples from ``start`` to ``stop`` seconds.

        They are averaged over the file's channels, or, if more than one is asked for, its first channels as FFmpeg
        decodes them: in the container's order, except for codecs with an order of their own, such as AAC. The span may
        extend beyond the recording; samples there are zero and lie outside ``valid``.

        Raises:
            MediaError: if there is no audio stream, it has fewer channels, or it can't be decoded.
        """

    def close(self) -> None:
        """Release the file, its threads and its memory."""

    def __enter__(self) -> VideoReader: ...

    def __exit__(self, *exc: object) -> None: ...
