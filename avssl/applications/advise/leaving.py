"""What an advice leaves: the best encoder and, with labels, a classifier."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from avssl.applications.advise.judging import Judgement
from avssl.applications.advise.session import SIZE, Session
from avssl.applications.advise.verdict import latest
from avssl.encoders import load_encoder, save_encoder
from avssl.evaluation.classifier.card import write_fitted
from avssl.evaluation.classifier.fitting import OwnViews, fit
from avssl.evaluation.handmade import MotionEnergy

HANDMADE = "hand-made motion energy"
CURVE = 60.0  # seconds that must be left for measuring how accuracy grows with the labels


def promise(judgement: Judgement) -> tuple[float, ...]:
    """Return by what tasks are ranked: inner accuracy, where there are labels; not collapsed; RankMe."""
    inner = judgement.get("inner", [0.0])
    return (sum(inner) / len(inner), float(not judgement["collapsed"]), judgement["criteria"].get("rankme", 0.0))


def place_of(session: Session, name: str) -> Path:
    """Return the folder from which a judged encoder is loaded, which is made for the hand-made features."""
    kind, _, stage = name.partition(", ")
    if stage:
        place = session.folder / ("tried" if stage == "trial" else "continued") / kind
        return place if place.exists() else session.folder / "runs" / kind  # a complete run has its own
    if name == HANDMADE:
        place, encoder = session.folder / "handmade", MotionEnergy()
        if not place.exists():
            save_encoder(encoder, place, encoder.card)
        return place
    if name.startswith("untrained "):
        return session.folder / "untrained" / name.removeprefix("untrained ")
    return next(path for path in session.asked.encoders if f"given {path.name}" == name)


def leave(session: Session, names: Sequence[str]) -> dict[str, str]:
    """Leave the best self-supervised encoder and, with labels, the classifier of the best encoder; return whose."""
    left = {}
    learnt = [latest(session.judged, name) for name in names]
    if learnt:
        best = max(learnt, key=lambda name: promise(session.judged[name]))
        place = session.folder / "encoder"
        if not place.exists():
            encoder = load_encoder(place_of(session, best))
            partial = session.folder / ".encoder.partial"
            shutil.rmtree(partial, ignore_errors=True)
            save_encoder(encoder, partial, encoder.card)
            partial.rename(place)
        left["encoder"] = best
    if session.labels is None or not session.judged:
        return left
    older = {f"{name}, trial" for name in names if f"{name}, continued" in session.judged}
    best = max((name for name in session.judged if name not in older), key=lambda name: session.judged[name]["all"])
    left["classifier"] = best
    model = session.folder / "classifier"
    if not model.exists():
        session.teller.say(f"fitting a classifier on {best}")
        manifest = session.folder / "labelled.parquet"
        session.labels.videos.write(manifest)
        views = OwnViews(size=SIZE) if best == HANDMADE else OwnViews()
        curve = session.clock.left > CURVE
        labels, machine = session.labels, session.asked.machine
        fitted = fit(
            *(manifest, place_of(session, best)),
            views=views,
            split=labels.split,
            linear=labels.probe,
            curve=curve,
            machine=machine,
        )
        write_fitted(fitted, model)
    return left
