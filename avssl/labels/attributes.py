"""Attributes of the camera that are recorded with a picture or a video: its EXIF header, or a side file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from PIL import ExifTags, Image
from torch import Tensor

from avssl.media import VideoInfo
from avssl.media.image import EXTENSIONS

SIDE = ".camera.json"  # takes the place of a recording's suffix
EXIF = ("Make", "Model", "ExposureTime", "FNumber", "ISOSpeedRatings", "FocalLength", "Flash", "YCbCrPositioning")
UNKNOWN = -1


@dataclass(frozen=True)
class RecordedAttributes:
    """Values of a recording's attributes as numbers that are the same if and only if the values are.

    They are read from ``<name>.camera.json`` beside the recording, an object of values by attribute
    (`avssl.synthetic.film_videos` writes them), or if there is none, from the EXIF header of a picture. Huh et al.
    (ECCV 2018, section 3.1) take the 80 tags that are most common in their collection.

    Args:
        names: attributes; tags have their names in EXIF.

    Raises:
        ValueError: if there is no attribute, or one twice.
    """

    names: Sequence[str] = EXIF

    def __post_init__(self) -> None:
        if not self.names or len(set(self.names)) < len(self.names):
            raise ValueError(f"RecordedAttributes.names is {list(self.names)}: expected different names, at least one")

    def __call__(self, frames: Tensor, times: Tensor, info: VideoInfo) -> Tensor:
        """Return ``[N, A]`` int64 numbers for clips ``[N, T, 3, H, W]``, whose pixels are not used; -1 is unknown.

        Raises:
            ValueError: if a side file is not a JSON object.
        """
        found = read_attributes(Path(info.path))
        codes = [_number(found[name]) if name in found else UNKNOWN for name in self.names]
        return torch.tensor([codes] * len(times))


@lru_cache(maxsize=4096)
def read_attributes(path: Path) -> dict[str, Any]:
    """Return the recorded attributes of a picture or video; none if nothing is recorded with it.

    Raises:
        ValueError: if its side file is not a JSON object.
    """
    side = path.with_suffix(SIDE)
    if side.is_file():
        try:
            found = json.loads(side.read_text())
        except ValueError as error:
            raise ValueError(f"{side} is not JSON: {error}") from error
        if not isinstance(found, dict):
            raise ValueError(f"{side}: expected an object of values by attribute, got {type(found).__name__}")
        return found
    return exif(path) if path.suffix.lower() in EXTENSIONS else {}


def exif(path: Path) -> dict[str, str]:
    """Return the EXIF tags of a picture by name, as text; those of length above 64 (notes, thumbnails) are left out."""
    with Image.open(path) as image:
        header = image.getexif()
        tags = {**header, **header.get_ifd(ExifTags.IFD.Exif)}
    words = {ExifTags.TAGS[tag]: str(value).strip("\0 ") for tag, value in tags.items() if tag in ExifTags.TAGS}
    return {name: word for name, word in words.items() if 0 < len(word) <= 64}


def _number(value: Any) -> int:
    """Return a number from 0 to 2^52 that hardly another value has."""
    return int(hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:13], 16)
