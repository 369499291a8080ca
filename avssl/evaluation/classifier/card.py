"""What a classifier's folder tells beside the weights: a card, pictures, and the numbers of the cross-validation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

import avssl
from avssl.evaluation.classifier.fitting import Fitted, write_classifier
from avssl.evaluation.features import Views
from avssl.evaluation.learning_curve import Curve
from avssl.evaluation.model_card import CARD, input_lines, parameters, training_lines
from avssl.evaluation.pictures import confusion_picture, curve_picture, reliability_picture
from avssl.evaluation.report import cell, markdown
from avssl.evaluation.results import AveragePrecision, Score, Summary, to_json
from avssl.runtime.files import write_text

NUMBERS = "cross_validation.json"
PICTURES = {"confusion": "confusion.png", "reliability": "reliability.png", "curve": "low_shot.png"}
NAMED = 20  # refused files on the card; all are in the JSON file
HOWS = {
    "linear": "a linear classifier on frozen features",
    "attentive": "an attentive classifier on frozen maps",
    "fine_tune": "a network trained as a whole",
}


def write_fitted(fitted: Fitted, output: str | Path) -> Path:
    """Write a classifier, its card, pictures and numbers; raise ValueError if the folder exists."""

    def rest(folder: Path) -> None:
        numbers = {
            "cross_validation": to_json(fitted.summary),
            "chance": fitted.chance,
            "calibration": to_json(fitted.calibration),
            "more_labels": fitted.curve if isinstance(fitted.curve, str) else to_json(fitted.curve),
            "refused": [[str(path), reason] for path, reason in fitted.labelled.refused],
        }
        write_text(folder / NUMBERS, json.dumps(plain(numbers), indent=1) + "\n")
        if isinstance(fitted.summary, Summary):
            confusion_picture(fitted.summary.confusion, fitted.model.classes, folder / PICTURES["confusion"])
        reliability_picture(fitted.calibration, folder / PICTURES["reliability"])
        if isinstance(fitted.curve, Curve):
            curve_picture(fitted.curve, fitted.chance, folder / PICTURES["curve"])
        write_text(folder / CARD, card(fitted, Path(output).resolve().name))

    score, measure = main_score(fitted)
    told = {
        "measure": measure,
        "value": score.value,
        "ci95": list(score.ci95_bootstrap),
        "chance": fitted.chance,
        "videos": len(fitted.labelled.videos),
        "folds": len(fitted.folds.folds),
        "chosen": fitted.chosen,
        "calibration_error": [fitted.calibration.before.error, fitted.calibration.after.error],
        "avssl": avssl.__version__,
    }
    return write_classifier(fitted, output, plain(told), rest)


def main_score(fitted: Fitted) -> tuple[Score, str]:
    """Return the cross-validated accuracy or mean average precision, and which of them it is."""
    if isinstance(fitted.summary, AveragePrecision):
        return fitted.summary, "mean average precision"
    return fitted.summary.top1, "accuracy"


def summary_lines(fitted: Fitted) -> list[str]:
    """Say in a few lines what has been fitted, how good it is and what more labels would bring."""
    score, measure = main_score(fitted)
    settings, refused = fitted.model.settings, fitted.labelled.refused
    strengths = ", ".join(f"{name} {strength:g}" for name, strength in (fitted.chosen or {}).items())
    told = f" (strengths: {strengths})" if strengths else ""
    before, after = fitted.calibration.before.error, fitted.calibration.after.error
    lines = [
        f"{HOWS[settings.how]}{told}: {len(settings.classes)} classes, {len(fitted.labelled.videos)} videos",
        f"cross-validated {measure} {cell(score)}, chance {fitted.chance:.3f}; {len(fitted.folds.folds)} folds, "
        f"{len(set(fitted.folds.groups))} groups kept whole",
        f"calibration error {before:.3f}, with the temperature {settings.temperature:.2f} {after:.3f}",
    ]
    if refused:
        shown = ", ".join(f"{path} ({reason})" for path, reason in refused[:3])
        lines.append(f"refused: {len(refused)} file(s): {shown}{', ...' if len(refused) > 3 else ''}")
    if fitted.labelled.unlabelled:
        lines.append(f"left out: {fitted.labelled.unlabelled} video(s) without a label")
    lines.append(f"more labels: {fitted.curve if isinstance(fitted.curve, str) else fitted.curve.words()}")
    return lines


def card(fitted: Fitted, name: str) -> str:
    """Return the README.md of a classifier."""
    settings, encoder = fitted.model.settings, fitted.model.encoder
    score, measure = main_score(fitted)
    head: dict[str, Any] = {"library_name": "avssl", "pipeline_tag": "video-classification"}
    head["tags"] = [tag for tag in ("video", "avssl", encoder.card.get("method")) if tag]
    front = yaml.safe_dump(head, sort_keys=False, allow_unicode=True)
    shown = " and ".join(view_words(views) for views in settings.every_view)
    before, after = fitted.calibration.before.error, fitted.calibration.after.error
    parts = [
        f"---\n{front}---\n\n# {name}\n",
        f"Labels videos with {len(settings.classes)} classes: {HOWS[settings.how]} of {type(encoder).__name__}, "
        f"{parameters(encoder)} parameters.\n",
        "## Use\n",
        f"```\navssl predict {name} VIDEOS -o predictions.csv\n```\n",
        f"```python\nimport avssl\n\nmodel = avssl.load_classifier('{name}')\nanswer = model('video.mp4')\n"
        "print(answer.label, answer.probability, answer.top(5))\n```\n",
        f"A video is shown as {shown}. One longer than {2 * settings.longest:.1f} s (twice the longest training "
        f"clip) is cut into windows of {settings.typical:.1f} s, their median length.\n",
        "## Accuracy\n",
        _accuracy(fitted, score, measure),
        *_picture("confusion", fitted, isinstance(fitted.summary, Summary)),
        "## Calibration\n",
        f"Probabilities are tempered by {settings.temperature:.3f}, fitted on the test videos of the outer folds. "
        f"Expected calibration error: {before:.3f} before, {after:.3f} after (each fold by the temperature of the "
        "others); with few videos both are too large.\n",
        *_picture("reliability", fitted, True),
        "## Classes\n",
        markdown(["class", "videos"], [[name, str(count)] for name, count in counts(fitted)]),
        *(_labels(fitted)),
        *(_refused(fitted)),
        "## Encoder\n",
        *training_lines(encoder.card),
        *input_lines(encoder),
    ]
    return "\n".join(parts)


def view_words(views: Views) -> str:
    """Say how a video is shown."""
    step = "spread over all of it" if views.step is None else f"{views.step:g} s apart"
    size = f"{views.size} x {views.size} pixels ({views.fit})"
    return f"{views.clips} clip(s) of {views.num_frames} frames, {step}, {size}"


def counts(fitted: Fitted) -> list[tuple[str, int]]:
    """Return the number of videos that show each class."""
    labels = fitted.labels
    each = (labels > 0).sum(0) if labels.ndim == 2 else np.bincount(labels, minlength=len(fitted.model.classes))
    return list(zip(fitted.model.classes, each.tolist(), strict=True))


def _accuracy(fitted: Fitted, score: Score, measure: str) -> str:
    chosen = (
        f"Probabilities are the mean over {len(fitted.chosen)} shape(s) of the features; the strength of each penalty "
        "is chosen by inner folds of the training videos, in each fold anew."
        if fitted.chosen
        else "The schedule of training is fixed; nothing is chosen."
    )
    rows = [[measure, cell(score), f"{fitted.chance:.3f}"]]
    if isinstance(fitted.summary, Summary):
        rows.append(
            ["mean over classes", f"{fitted.summary.mean_per_class:.3f}", f"{1 / len(fitted.model.classes):.3f}"]
        )
    table = markdown(["measure", "cross-validated [95 % interval]", "chance"], rows)
    return (
        f"{table}\nFrom {len(fitted.folds.folds)} folds of {len(fitted.labelled.videos)} videos in "
        f"{len(set(fitted.folds.groups))} groups, none on both sides. {chosen} The classifier itself is then trained "
        "on all videos. Videos of another source (camera, place, people) than these may be harder.\n"
    )


def _picture(name: str, fitted: Fitted, there: bool) -> list[str]:
    return [f"![{name}]({PICTURES[name]})\n"] if there else []


def _labels(fitted: Fitted) -> list[str]:
    if isinstance(fitted.curve, str):
        return ["## More labels\n", f"Not known: {fitted.curve}.\n"]
    kind = "" if fitted.model.settings.how == "linear" else "Of a linear classifier on the frozen features. "
    return ["## More labels\n", f"{kind}{fitted.curve.words()}\n", *_picture("curve", fitted, True)]


def _refused(fitted: Fitted) -> list[str]:
    refused, left = fitted.labelled.refused, fitted.labelled.unlabelled
    lines = [f"{left} video(s) without a label were left out.\n"] if left else []
    if refused:
        rows = [[path.name, reason] for path, reason in refused[:NAMED]]
        more = f"; all are in {NUMBERS}" if len(refused) > NAMED else ""
        lines += [f"{len(refused)} file(s) could not be read{more}:\n", markdown(["file", "reason"], rows)]
    return ["## Left out\n", *lines] if lines else []


def plain(value: Any) -> Any:
    """Return JSON values, with numbers that JSON lacks as None."""
    if isinstance(value, dict):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(part) for part in value]
    return value
