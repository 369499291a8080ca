"""What a classifier's folder says beside the weights: the read-out, the classes, and how videos are read."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from avssl.evaluation.classifier.shapes import Arrangement, Shape
from avssl.evaluation.features import Views

SETTINGS = "classifier.json"
VERSION = 2
ONE_SHAPE = 1  # version of classifiers that read a single shape
TOP = 5  # classes told of a video
NUMBERS = ("temperature", "typical", "longest", "alike")
How = Literal["linear", "attentive", "fine_tune"]


@dataclass(frozen=True)
class Settings:
    """What a classifier is, beside its weights.

    Attributes:
        how: a linear classifier on frozen features, an attentive one, or a network that was trained as a whole.
        shapes: what is read of a video, or of a window of it, and how the features of ``linear`` are arranged; it
            averages the probabilities of all shapes, the other kinds have one.
        classes: K class names.
        several: a video may show several classes, or none: probabilities don't sum to 1.
        temperature: of the probabilities, see `avssl.evaluation.calibration`.
        typical: median duration of the training clips in seconds.
        longest: duration of the longest.
        alike: cosine of standardised features above which two videos are near duplicates.
        unit: the features of ``fine_tune`` are scaled to unit length.
        told: what is known of it (accuracy, ...), for people.
    """

    how: How
    shapes: tuple[Shape, ...]
    classes: tuple[str, ...]
    several: bool
    temperature: float
    typical: float
    longest: float
    alike: float
    unit: bool = False
    told: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"version": VERSION, **vars(self), "shapes": [asdict(shape) for shape in self.shapes]}

    @property
    def views(self) -> Views:
        """Clips and crops of the first shape."""
        return self.shapes[0].views

    @property
    def every_view(self) -> tuple[Views, ...]:
        """Clips and crops that stand for a video or a window of it: those of all shapes, each once."""
        return tuple(dict.fromkeys(shape.views for shape in self.shapes))

    @classmethod
    def from_json(cls, found: Any, where: Path) -> Settings:
        """Build from the values of `to_json`; raise ValueError, naming the file, if they are of something else."""
        try:
            if found["version"] not in (ONE_SHAPE, VERSION):
                raise ValueError(f"its version is {found['version']}, this avssl reads {VERSION}")
            shapes = [found["shape"]] if found["version"] == ONE_SHAPE else found["shapes"]
            if found["how"] not in get_args(How):
                raise ValueError(f"{found['how']!r} is unknown to this avssl")
            if not shapes or (found["how"] != "linear" and len(shapes) > 1):
                raise ValueError(f"{found['how']!r} of {len(shapes)} shapes")
            numbers = {name: float(found[name]) for name in NUMBERS}
            if not all(math.isfinite(number) and number > 0 for number in numbers.values()):
                raise ValueError(f"{numbers}: not all are positive")
            names = tuple(str(name) for name in found["classes"])
            if len(names) < 2:
                raise ValueError(f"it has the classes {list(names)}: expected at least two")
            told = dict(found.get("told", {}))
            several, unit = bool(found["several"]), bool(found["unit"])
            return cls(found["how"], tuple(map(_shape, shapes)), names, several, **numbers, unit=unit, told=told)
        except (KeyError, TypeError, ValueError) as error:
            why = f"it has no {error}" if isinstance(error, KeyError) else str(error)
            raise ValueError(f"{where}: not the settings of a classifier: {why}. Fit it again (avssl fit)") from error


def _shape(found: Mapping[str, Any]) -> Shape:
    if found["arrangement"] not in get_args(Arrangement):
        raise ValueError(f"{found['arrangement']!r} features are unknown to this avssl")
    grid = None if found["grid"] is None else tuple(int(cells) for cells in found["grid"])
    if grid is not None and (len(grid) != 3 or min(grid) < 1):
        raise ValueError(f"the grid is {grid}: expected three positive numbers")
    return Shape(found["arrangement"], Views(**found["views"]), grid)


def read_settings(folder: Path) -> Settings:
    """Read the settings of the classifier in a folder.

    Raises:
        FileNotFoundError: if there is no classifier.
        ValueError: if they are damaged.
    """
    path = folder / SETTINGS
    if not path.is_file():
        hint = " (it holds an encoder: fit a classifier on it with avssl fit)" if (folder / "encoder").is_dir() else ""
        raise FileNotFoundError(f"{folder}: no classifier there: no {SETTINGS}{hint}")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not JSON: {error}. Fit it again (avssl fit)") from error
    return Settings.from_json(found, path)
