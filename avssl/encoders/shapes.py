"""The clips for which an encoder is exported, and how messages call it."""

from __future__ import annotations

from typing import NamedTuple

from avssl.encoders.base import Encoder

FRAMES = 16  # per clip, where neither a card nor a caller says otherwise


class Shape(NamedTuple):
    """Clips for which an export is made: frames, height and width. A graph takes no others; the batch is free."""

    frames: int
    height: int
    width: int


def described(encoder: Encoder) -> str:
    """Return the class of an encoder with its arguments, as it is called in messages."""
    told = ", ".join(f"{name}={value}" for name, value in encoder.config.items() if not isinstance(value, dict))
    return f"{type(encoder).__name__}({told})"


def shape_of(encoder: Encoder) -> Shape:
    """Return the frames per clip and their size that a card tells, but no fewer frames than the network takes."""
    height, width = encoder.card["size"]
    frames = encoder.card.get("clip", {}).get("num_frames", FRAMES)
    return Shape(max(frames, encoder.min_clip[0]), height, width)
