"""Why a source or a clip is not in the dataset."""

from __future__ import annotations

from typing import NamedTuple

from avssl.media import MediaError

REASONS = {
    "not_media": "not a recording: empty, a web page, a playlist, a pointer, an image",
    "broken": "damaged: cut off, or it can't be decoded to its end",
    "unreadable": "the file can't be read",
    "too_large": "its pictures are larger than is safe to decode",
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
_MEDIA = {
    "url": "not_media",
    "not_file": "not_media",
    "empty": "not_media",
    "not_media": "not_media",
    "playlist": "not_media",
    "truncated": "broken",
    "corrupt": "broken",
    "undecodable": "broken",
    "not_found": "unreadable",
    "unreadable": "unreadable",
    "no_video": "no_video",
    "no_audio": "no_audio",
    "too_large": "too_large",
}


class Rejection(NamedTuple):
    """Why something is left out.

    Attributes:
        reason: one of ``REASONS``.
        why: what is wrong with this one, with the values that show it.
    """

    reason: str
    why: str

    @classmethod
    def of(cls, error: MediaError) -> Rejection:
        """The reason that a reader's error comes to."""
        return cls(_MEDIA.get(error.code, "broken"), f"{error.code}: {error.why}")
