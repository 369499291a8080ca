"""Decoded recordings kept in memory, for small collections that are read again and again."""

from __future__ import annotations

import torch
from torch import Tensor

from avssl.media import AudioClip, VideoInfo, VideoReader, open_video

MARGIN = 0.5  # seconds of sound kept before and after a recording
EXACT = ("flac", "alac", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_f32le")  # whose parts are parts of the whole


class KeptReader:
    """A recording in memory, at one size of its pictures and one rate of its sound.

    It returns what its file's reader does. A span of sound that isn't kept, as it begins between samples or lies far
    outside, is read from the file.

    Args:
        info: the recording, which is read as a whole.
        backend: see `avssl.media.open_video`.
        size: (height, width) of its pictures.
        rate: sampling rate of its sound, in Hz; None for a recording that is read without.
        channels: of the sound.
    """

    def __init__(self, info: VideoInfo, backend: str, size: tuple[int, int], rate: int | None, channels: int) -> None:
        self.info, self._backend = info, backend
        with open_video(info.path, backend, info=info) as reader:
            times = (torch.arange(info.num_frames, dtype=torch.float64) + 0.5) / info.fps
            self._pictures = reader.frames(times, size).contiguous()
            self._sound = None if rate is None else reader.audio(-MARGIN, info.duration + MARGIN, rate, channels)
        self._format = size, rate, channels

    @property
    def bytes(self) -> int:
        """Memory that it takes."""
        return self._pictures.nbytes + (0 if self._sound is None else self._sound.samples.nbytes)

    def frames(self, times: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """See ``VideoReader.frames``."""
        if size != self._format[0]:
            with self._file() as reader:
                return reader.frames(times, size)
        return self._pictures[(times * self.info.fps + 1e-6).long().clamp(0, len(self._pictures) - 1)]

    def audio(self, start: float, stop: float, rate: int, channels: int = 1) -> AudioClip:
        """See ``VideoReader.audio``."""
        first, count = (start + MARGIN) * rate, round((stop - start) * rate)
        whole = self._sound
        outside = whole is None or first < -1e-3 or round(first) + count > whole.samples.shape[-1]
        if whole is None or outside or (rate, channels) != self._format[1:] or abs(first - round(first)) > 1e-3:
            with self._file() as reader:
                return reader.audio(start, stop, rate, channels)
        begin, end = (min(max(edge, start), stop) for edge in whole.valid)
        return AudioClip(whole.samples[..., round(first) : round(first) + count], (begin, end))

    def close(self) -> None:
        """Do nothing: it stays in memory."""

    def __enter__(self) -> KeptReader:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _file(self) -> VideoReader:
        return open_video(self.info.path, self._backend, info=self.info)


class Kept:
    """The recordings that a process keeps, up to some memory: those that it reads first.

    Only those are kept of which a part is the same whether it is read alone or with the whole: frames evenly spaced,
    and sound without loss, at the rate that is asked for. So items don't depend on what is kept.

    Args:
        memory: bytes.
    """

    def __init__(self, memory: float) -> None:
        self._left, self._readers = memory, dict[int, KeptReader]()

    def open(
        self, row: int, info: VideoInfo, backend: str, size: tuple[int, int], sound: tuple[int, int] | None
    ) -> VideoReader:
        """Open a recording, from memory if it is kept.

        Args:
            row: its number.
            info: its description.
            backend: see `avssl.media.open_video`.
            size: (height, width) of the pictures that are to be read.
            sound: rate and channels of the sound that is to be read; None for none.
        """
        if row not in self._readers:
            audio = info.audio
            plain = audio is not None and audio.codec in EXACT and sound is not None and audio.rate == sound[0]
            if self._left <= 0 or info.vfr or not info.num_frames or not (sound is None or plain):
                return open_video(info.path, backend, info=info)
            made = KeptReader(info, backend, size, *(sound or (None, 1)))
            self._left -= made.bytes
            self._readers[row] = made
        return self._readers[row]
