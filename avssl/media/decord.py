"""Frames by decord 0.6, for files that it reads correctly. Never sound: it misplaces audio and leaks memory."""

from __future__ import annotations

import torch  # before decord, whose libraries may otherwise be loaded instead of torch's
from torch import Tensor

# isort: split
import decord

from avssl.media.errors import MediaError
from avssl.media.info import VideoInfo
from avssl.media.reading import IndexedReader


class DecordReader(IndexedReader):
    """A ``VideoReader``."""

    def __init__(self, info: VideoInfo, threads: int = 1) -> None:
        super().__init__(info, "decord")
        self._threads = threads
        self._readers: dict[tuple[int, int] | None, decord.VideoReader] = {}
        self.check_count(len(self._reader(None)))

    def _reader(self, size: tuple[int, int] | None) -> decord.VideoReader:
        if size not in self._readers:
            height, width = size or (-1, -1)
            try:
                self._readers[size] = decord.VideoReader(
                    str(self.info.path), width=width, height=height, num_threads=self._threads
                )
            except (RuntimeError, decord.DECORDError) as error:
                raise self._unsafe(f"it can't open the file ({error})") from error
        return self._readers[size]

    def frames(self, times: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """See ``VideoReader.frames``."""
        places = self.places(times)
        reader = self._reader(size)
        try:
            dates = reader.get_frame_timestamp([0, *places])[:, 0]  # from the start of the stream or of the file
            batch = reader.get_batch(places)
        except decord.DECORDError as error:
            why, remedy = f"decord can't decode it ({error})", 'Use backend="pyav", which says where it fails'
            raise MediaError(self.info.path, "corrupt", why, remedy) from error
        video = batch if isinstance(batch, Tensor) else torch.from_numpy(batch.asnumpy())  # [T, H, W, 3]
        self.check_shown(places, (dates[1:] - dates[0] + self.first).tolist())
        if tuple(video.shape[1:]) != (*(size or self.info.size), 3):
            raise self._unsafe(f"it returns frames of shape {list(video.shape[1:])}")
        return video.permute(0, 3, 1, 2)

    def close(self) -> None:
        """Release the file, its threads and its memory."""
        self._readers.clear()
