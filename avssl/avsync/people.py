"""People in a clip: which of their faces are fit, and whose voice is heard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from avssl.avsync.clips import Span
from avssl.avsync.options import Faces
from avssl.avsync.reasons import Rejection
from avssl.avsync.score import Score
from avssl.avsync.together import NOTHING, Trace
from avssl.avsync.tracks import Track, present

LIKELY = 0.5  # least probability, by a calibration, that the estimate of a face that speaks is right


class Seen(NamedTuple):
    """A face of a clip; medians over it."""

    track: int
    side: float  # pixels of the normalised picture
    turned: float  # degrees, to either side
    blurred: float  # 0 to 1
    fault: Rejection | None  # why it is not fit


class Heard(NamedTuple):
    """Synchrony of a face with the sound."""

    track: int
    score: Score
    trace: Trace = NOTHING


class Voice(NamedTuple):
    """Whose voice is heard in a clip."""

    where: str  # on_screen, off_screen, or undecided
    speaker: int | None = None  # track
    margin: float | None = None  # share by which the next face's confidence is lower; None if there is no other
    confidence: float = 0.0  # of the surest face


def seen_in(tracks: Sequence[Track], span: Span, options: Faces) -> list[Seen]:
    """Return the faces of a clip."""
    return [_seen(number, tracks[number].part(*span), options) for number in present(tracks, *span, options.share)]


def _seen(number: int, part: Track, options: Faces) -> Seen:
    turned, blurred = float(np.median(np.abs(part.turned()))), float(np.median(part.blurs))
    fault = None
    if part.side < options.smallest:
        fault = Rejection("face_too_small", f"its face is {part.side:.0f} pixels large, less than {options.smallest:g}")
    elif turned > options.turned:
        fault = Rejection("face_turned", f"its head is turned by {turned:.0f} degrees, more than {options.turned:g}")
    elif blurred > options.blurred:
        fault = Rejection("blurred", f"its face is blurred by {blurred:.2f}, more than {options.blurred:g}")
    return Seen(number, part.side, turned, blurred, fault)


def unfit(seen: Sequence[Seen], options: Faces, tracked: bool) -> Rejection | None:
    """Return why the faces of a clip don't fit, as far as that is known before they are heard; None if they do.

    Args:
        seen: its faces.
        options: what is asked of them.
        tracked: whether it will be known which of them speaks.
    """
    if not seen:
        return Rejection("no_face", f"none is seen in {options.share:.0%} of its frames")
    if len(seen) > 1 and not tracked:
        return Rejection("several_faces", f"{len(seen)} are seen")
    largest = max(seen, key=lambda face: face.side)
    return largest.fault if all(face.fault for face in seen) else None


def who_speaks(heard: Sequence[Heard], options: Faces, probable: Callable[[float], float] | None) -> Voice:
    """Return whose voice is heard: the face whose synchrony is surest, if it is sure enough and by a margin.

    Args:
        heard: the faces of a clip, at least one.
        options: how sure.
        probable: probability that an estimate of some confidence is right; None if that isn't known.
    """
    order = sorted(heard, key=lambda face: (-face.score.confidence, face.track))
    best = order[0].score.confidence
    margin = (best - max(order[1].score.confidence, 0.0)) / best if len(order) > 1 and best > 0 else None
    if options.speaking is not None:
        speaks = best >= options.speaking
    else:
        speaks = probable is None or probable(best) >= LIKELY
    if not speaks:
        return Voice("off_screen", None, margin, best)
    if len(order) > 1 and (margin or 0.0) < options.margin:
        return Voice("undecided", None, margin, best)
    return Voice("on_screen", order[0].track, margin, best)


def unheard(voice: Voice, seen: Sequence[Seen], options: Faces) -> Rejection | None:
    """Return why a clip doesn't show who speaks, in a way that is fit; None if it does."""
    if voice.where == "off_screen":
        why = f"the confidence of the surest face is {voice.confidence:.3g}: nobody seen speaks"
        return Rejection("off_screen", why)
    if voice.where == "undecided":
        why = f"of {len(seen)} faces, the surest leads by {voice.margin or 0.0:.0%}, less than {options.margin:.0%}"
        return Rejection("several_faces", why)
    return next(face.fault for face in seen if face.track == voice.speaker)
