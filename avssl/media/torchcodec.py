"""Frames by torchcodec, if installed. It reads mp4, mov, mkv and webm correctly by frame number."""

from __future__ import annotations

from torch import Tensor
from torchcodec.decoders import VideoDecoder
from torchcodec.transforms import Resize

from avssl.media.errors import MediaError
from avssl.media.info import VideoInfo
from avssl.media.reading import IndexedReader


class TorchCodecReader(IndexedReader):
    """A ``VideoReader``."""

    def __init__(self, info: VideoInfo, threads: int = 1) -> None:
        super().__init__(info, "torchcodec")
        self._threads = threads
        self._decoders: dict[tuple[int, int] | None, VideoDecoder] = {}
        self.check_count(len(self._decoder(None)))

    def _decoder(self, size: tuple[int, int] | None) -> VideoDecoder:
        if size not in self._decoders:
            transforms = [Resize(size)] if size else None
            try:
                self._decoders[size] = VideoDecoder(
                    str(self.info.path), num_ffmpeg_threads=self._threads, transforms=transforms
                )
            except (RuntimeError, ValueError) as error:
                raise self._unsafe(f"it can't open the file ({error})") from error
        return self._decoders[size]

    def frames(self, times: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """See ``VideoReader.frames``."""
        places = self.places(times)
        try:
            batch = self._decoder(size).get_frames_at(places)
        except RuntimeError as error:
            why, remedy = f"torchcodec can't decode it ({error})", 'Use backend="pyav", which says where it fails'
            raise MediaError(self.info.path, "corrupt", why, remedy) from error
        self.check_shown(places, batch.pts_seconds.tolist())
        return batch.data

    def close(self) -> None:
        """Release the file, its threads and its memory."""
        self._decoders.clear()
