"""Still images as recordings of one frame, shown for 1/25 s."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from avssl.media.errors import MediaError
from avssl.media.files import path_of, place_of, sniff
from avssl.media.info import AudioClip, VideoInfo
from avssl.media.reading import Reader
from avssl.media.source import Source
from avssl.media.window import reading

EXTENSIONS = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})
FPS = 25.0
_FORMATS = ("BMP", "JPEG", "PNG", "WEBP")


def probe_image(path: Path | Source, max_pixels: int) -> VideoInfo:
    """Describe an image file by decoding it; see ``probe``.

    Raises:
        MediaError: ``not_media``, ``unreadable``, ``truncated``, ``too_large`` or ``undecodable``.
    """
    image, codec = _decoded(path, max_pixels)
    size = (image.height, image.width)
    info = VideoInfo(path_of(path), 1 / FPS, FPS, size, num_frames=1, codec=codec, container="image")
    return replace(info, backends=("image",), source=path if isinstance(path, Source) else None)


class ImageReader(Reader):
    """Returns the image at every requested time, rotated as its EXIF data says, with transparency over white."""

    def __init__(self, info: VideoInfo, threads: int = 1) -> None:
        self.info = info

    def close(self) -> None:
        """Do nothing: no file is kept open."""

    def frames(self, times: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """See ``VideoReader.frames``; the result is channels-last in memory."""
        count = len(self.check_times(times))
        image, _ = _decoded(place_of(self.info), self.info.size[0] * self.info.size[1])
        if size is not None and size != (image.height, image.width):
            image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)  # antialiased
        return torch.from_numpy(np.repeat(np.asarray(image)[None], count, axis=0)).permute(0, 3, 1, 2)

    def audio(self, start: float, stop: float, rate: int, channels: int = 1) -> AudioClip:
        """Raise `MediaError`: an image has no sound."""
        raise MediaError(self.info.path, "no_audio", "an image has no sound", "Leave it out of audio-visual sets")


def _decoded(path: Path | Source, max_pixels: int) -> tuple[Image.Image, str]:
    """Decode an image: RGB as shown, and its format."""
    try:
        with reading(path) as file, Image.open(file, formats=_FORMATS) as image:
            if image.width * image.height > max_pixels:
                why = f"its {image.width} x {image.height} exceed {max_pixels} pixels"
                raise MediaError(path, "too_large", why, "Scale it down first, or raise max_pixels")
            if image.mode[0] in "IF":
                why = f"its pixels have PIL mode {image.mode}, more than 8 bits each"
                raise MediaError(path, "undecodable", why, "Convert it to 8 bits per channel")
            image.load()
            shown = ImageOps.exif_transpose(image)
            if shown.has_transparency_data:
                clear = shown.convert("RGBA")
                shown = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear)
            return shown.convert("RGB"), str(image.format).lower()
    except UnidentifiedImageError as error:
        family = sniff(path)  # raises with a description, unless it is a video
        raise MediaError(path, "not_media", f"this is a {family} file, not an image", "Rename it") from error
    except Image.DecompressionBombError as error:
        raise MediaError(path, "too_large", str(error), "Scale it down first") from error
    except (OSError, SyntaxError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # from the disk, not the decoder
            why = f"it can't be read: {error}"
            raise MediaError(path, "unreadable", why, "Check permissions and the disk") from error
        raise MediaError(path, "truncated", f"it can't be decoded: {error}", "Fetch or copy it again") from error
