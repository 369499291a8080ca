"""Reasons why a source or a clip is not in the dataset."""

from __future__ import annotations

from typing import NamedTuple

from avssl.media import MediaError

REASONS = {
    "not_media": "not a recording: empty, a web page, a playlist, a pointer, an image",
    "broken": "damaged: cut off, or it can't be decoded to its end",
    "unreadable": "the file can't be read",
    "too_large": "its pictures are larger than is safe to decode",
    "too_small": "its pictures are smaller than asked for",
    "low_bitrate": "it has fewer bits per second than asked for",
    "outside": "the segment doesn't lie within its recording",
    "no_video": "there is no video stream",
    "no_audio": "there is no audio stream",
    "silent": "no sound is loud enough to be heard",
    "still": "the picture doesn't move",
    "no_face": "no face is seen in it",
    "several_faces": "several faces are seen in it, and which one speaks isn't known",
    "face_too_small": "its face is small",
    "face_turned": "its face is turned away",
    "blurred": "its face is blurred",
    "no_speech": "nobody speaks in it",
    "off_screen": "who speaks isn't seen in it: a voice-over, or another voice over the picture",
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
REMEDIES = {  # of those that an option or the user can change
    "not_media": "remove it from the sources, or download it again",
    "broken": "fetch it again, or keep the part that decodes: --accept.broken=true",
    "unreadable": "check links and permissions, then --retry-failed",
    "too_large": "scale it down first",
    "too_small": "lower --accept.smallest (pixels), or find a larger copy",
    "low_bitrate": "lower --accept.bitrate (thousands of bits per second), or find a better copy",
    "outside": "correct the list of segments",
    "no_audio": "leave it out, or add its sound",
    "silent": "lower --cut.quiet (decibels), if the sound is faint",
    "still": "raise --cut.still (share of frames that equal the one before)",
    "no_face": "keep it: --faces.mode=score; or lower --faces.share (of the frames in which it is seen)",
    "several_faces": "let a run decide: --sync.run=RUN; lower --faces.margin; or keep it: --faces.mode=score",
    "face_too_small": "lower --faces.smallest, or raise --normal.short_side (pixels)",
    "face_turned": "raise --faces.turned (degrees)",
    "blurred": "raise --faces.blurred (0 to 1), or --normal.short_side (pixels)",
    "no_speech": "lower --speech.share or --speech.threshold, or keep it: --speech.mode=score",
    "off_screen": "lower --faces.speaking (confidence), or keep it: --faces.mode=score",
    "too_short": "shorten --cut.seconds, or allow shorter clips: --cut.min_seconds",
    "length_mismatch": "raise --accept.length_tolerance (seconds)",
    "unsignalled_offset": "raise --accept.delay_tolerance (seconds), or accept all: --accept.unsignalled=true; a delay"
    " that is known is taken out by --accept.delay",
    "duplicate": "copies encoded in another way are kept by --accept.copies=true, excerpts by --accept.excerpts=true",
    "low_confidence": "--sync.mode=score keeps it; a lower --sync.certainty or --sync.min_confidence trusts more",
    "off_sync": "mend it: --sync.mode=realign; or keep it: --sync.mode=score",
    "sound_missing": "allow shorter clips: --cut.min_seconds",
    "timeout": "raise --timeout (seconds), then --retry-failed",
    "crashed": "--retry-failed; give each process more memory (fewer --workers)",
    "error": "--retry-failed, and report it",
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
