"""Reasons why a source or a clip is not in the dataset."""

from __future__ import annotations

from typing import NamedTuple

from avssl.media import MediaError

REASONS = {
    "not_media": "not a recording: empty, a web page, a playlist, a pointer, an image",
    "broken": "damaged: cut off, or it can't be decoded to its end",
    "unreadable": "the file can't be read",
    "too_large": "its pictures are larger than is safe to decode",
    "outside": "the segment doesn't lie within its recording",
    "no_video": "there is no video stream",
    "no_audio": "there is no audio stream",
    "silent": "no sound is loud enough to be heard",
    "still": "the picture doesn't move",
    "too_short": "no shot with sound lasts as long as a clip",
    "length_mismatch": "sound and picture differ in length",
    "unsignalled_offset": "the container can't say how much the encoder delayed the sound",
    "duplicate": "another source holds the same recording",
    "low_confidence": "whether it is in sync can't be told",
    "off_sync": "sound and picture are not in sync",
    "sound_missing": "with its sound shifted into place, the clip would lack some of it",
    "timeout": "it was not done in time, and its process was killed",
    "crashed": "the process that worked on it died",
    "error": "an unexpected error: please report it",
}
_MEDIA = dict.fromkeys(("url", "not_file", "empty", "playlist"), "not_media") | {"not_found": "unreadable"}


class Rejection(NamedTuple):
    """The reason why something is left out."""

    reason: str  # a key of ``REASONS``
    why: str  # what is wrong in this case, with the values that show it

    @classmethod
    def of(cls, error: MediaError) -> Rejection:
        """Return the rejection that follows from a reader's error; codes that aren't reasons count as broken."""
        reason = _MEDIA.get(error.code, error.code)
        return cls(reason if reason in REASONS else "broken", f"{error.code}: {error.why}")
