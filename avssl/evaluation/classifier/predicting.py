"""Labels for many videos: read, classified and journalled piece by piece, so that a killed job goes on."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avssl.encoders import weights_hash
from avssl.evaluation.classifier.model import VideoClassifier
from avssl.evaluation.classifier.pieces import Piece, batched, pieces, stream
from avssl.evaluation.classifier.settings import TOP
from avssl.evaluation.classifier.table import write_table
from avssl.evaluation.classifier.videos import Collection, open_unlabelled
from avssl.evaluation.features import VIEWS_AT_ONCE, VIEWS_PER_WORKER
from avssl.runtime.checks import check_ranges
from avssl.runtime.files import Journal
from avssl.runtime.progress import Tally

SUFFIXES = (".csv", ".parquet")


def predict(
    model: VideoClassifier,
    places: Sequence[str | Path],
    output: str | Path,
    window: float | None = None,
    hop: float | None = None,
    sheet: int = 24,
) -> dict[str, int]:
    """Label videos and write a table, and a sheet of the least certain ones.

    The table has a row per video or window: ``path``, ``start``, ``stop`` (seconds), ``class``, ``probability``, the
    next classes, ``near`` (an earlier row that looks the same) and ``reason`` (why a video could not be read). What is
    done is kept in a journal beside it until all is: the same command goes on after a kill.

    Args:
        model: the classifier.
        places: folders, manifests and files; they are only read.
        output: a ``.csv`` or ``.parquet`` file. The sheet is the ``.png`` beside it.
        window: see `avssl.evaluation.VideoClassifier.windows`.
        hop: see there.
        sheet: number of videos on the sheet; 0 draws none.

    Returns:
        Numbers of ``videos``, ``rows``, ``unreadable`` videos and ``near`` duplicates.

    Raises:
        FileNotFoundError, MediaError: see `open_unlabelled`.
        ValueError: if the output exists, or its journal is that of another job.
    """
    check_ranges(
        "", {"window": window, "hop": hop, "sheet": sheet}, window="[0, inf)", hop="(0, inf)", sheet="[0, inf)"
    )
    output = Path(output)
    if output.suffix not in SUFFIXES:
        raise ValueError(f"{output}: expected a name that ends in {' or '.join(SUFFIXES)}")
    log = output.with_name(output.name + ".journal")
    for file in (output, *(() if log.exists() or not sheet else (output.with_suffix(".png"),))):
        if file.exists():
            raise ValueError(f"{file}: exists already, and nothing is overwritten: name another output, or remove it")
    collection = open_unlabelled(places)
    identity = {"model": fingerprint(model), "window": window, "hop": hop}
    with Journal(log, keep=False) as journal:
        done: set[int] = set()
        for number, (name, value) in enumerate(journal.read()):
            if number == 0 and value != identity:
                raise ValueError(
                    f"{journal.path}: of an unfinished job with another model, window or hop: finish that job, name "
                    "another output, or remove the file"
                )
            done.add(key_of(name))
        if done:
            done.remove(key_of("job"))
        else:
            journal.append("job", identity)
        current = _label(model, collection, (window, hop), journal, done)

        def entries() -> Iterator[dict[str, Any]]:
            return (value for name, value in journal.read() if key_of(name) in current)

        counts = write_table(model, collection, entries, output, sheet)
        journal.remove()
    return counts


def key_of(name: str) -> int:
    """Return a number for a name of the journal, smaller than the name."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")


def fingerprint(model: VideoClassifier) -> str:
    """Return a digest of a classifier: its settings and weights."""
    digest = hashlib.sha256(json.dumps(model.settings.to_json(), sort_keys=True).encode())
    digest.update(weights_hash(model.encoder).encode())
    for name, value in sorted(model.head.state_dict().items()):
        digest.update(f"{name} {float(value.double().sum())!r}".encode())
    return digest.hexdigest()[:16]


def _label(
    model: VideoClassifier,
    collection: Collection,
    spans: tuple[float | None, float | None],
    journal: Journal,
    done: set[int],
) -> set[int]:
    """Classify what the journal lacks and add it; return the keys of all pieces, of files as they are now."""
    count = sum(views.count for views in model.settings.every_view)
    few, many = (max(1, most // count) for most in (VIEWS_PER_WORKER, VIEWS_AT_ONCE))
    durations = collection.usable.column("duration").to_numpy()
    every = {key_of(piece.name): piece for piece in pieces(model, collection, durations, spans, few)}
    todo = [piece for key, piece in every.items() if key not in done]
    readable = [piece for piece in todo if piece.video.row is not None]
    batches = list(batched(readable, few if model.machine.target.type == "cpu" else many))
    if done:
        print(f"resumed: {len(done)} piece(s) were done before, {len(todo)} are left", file=sys.stderr)
    found = stream(model, collection, batches, spans)
    with Tally("windows", sum(piece.count for piece in readable)) as tally:
        for piece in todo:
            if piece.video.row is None:
                journal.append(piece.name, {"path": piece.video.path, "reason": piece.video.reason})
                continue
            rows, why = next(found)
            journal.append(piece.name, _entry(model, piece, durations, spans, rows, why))
            for _ in range(piece.count):
                tally.add("unreadable" if why else "labelled")
    return set(every)


def _entry(
    model: VideoClassifier,
    piece: Piece,
    durations: np.ndarray,
    spans: tuple[float | None, float | None],
    rows: Any,
    why: str,
) -> dict[str, Any]:
    """Return what the journal keeps of a piece: the windows with their likeliest classes, or the reason."""
    if why:
        return {"path": piece.video.path, "reason": why}
    windows = model.windows(float(durations[piece.video.row]), *spans)[piece.first : piece.first + piece.count]
    found = []
    for (start, stop), row in zip(windows, np.asarray(rows), strict=True):
        order = np.argsort(-row, kind="stable")[:TOP]
        found.append([start, stop, order.tolist(), [round(float(row[place]), 6) for place in order], doubt(model, row)])
    return {"path": piece.video.path, "from": piece.video.start, "windows": found}


def doubt(model: VideoClassifier, probabilities: np.ndarray) -> float:
    """Return how uncertain a classifier is of probabilities ``[K]``: 1 less the largest.

    Where videos may show several classes, it is the distance of the least certain one from a certain answer.
    """
    if model.settings.several:
        return round(float(np.minimum(probabilities, 1 - probabilities).max()), 6)
    return round(1 - float(probabilities.max()), 6)
