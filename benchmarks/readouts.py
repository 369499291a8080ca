"""Read-outs at the size of Kinetics-400: seconds, peak memory, accuracy beside scikit-learn's and the best possible.

    python benchmarks/readouts.py --what=probe          # or neighbours, retrieval, agreement

Features are drawn from a Gaussian per class, all of one covariance whose spectrum falls like a network's: then the best
classifier is known, and linear. They lie on the disk as float16. Every measurement is made in a process of its own.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import gettempdir
from typing import Literal

import numpy as np
from jsonargparse import auto_cli

from avssl.evaluation.probes import LinearProbe, NearestNeighbours, retrieval_hits
from avssl.evaluation.readout import Bank
from avssl.evaluation.splits import Fold
from avssl.evaluation.store import Shards

SUBSPACE = 64  # directions in which the centres of the classes differ
APART = 0.52  # how much they do along each, in deviations within a class
SHARD = 8192
STRENGTHS = (1e-3, 1e-2, 1e-1)  # at which both solvers are compared
FOLDER = Path(gettempdir()) / "avssl_readouts"
CUT = 20_000  # training rows for that


class Generator:
    """Features of known structure: class k is N(c_k, Σ)."""

    def __init__(self, width: int, classes: int) -> None:
        rng = np.random.default_rng(0)
        spectrum = np.arange(1, width + 1) ** -0.5
        turn = np.linalg.qr(rng.normal(size=(width, width)))[0]
        self.mix = (spectrum / np.sqrt((spectrum**2).mean()))[:, None] * turn  # [D, D]; noise is z @ mix
        used = np.linspace(0, width - 1, min(SUBSPACE, width)).astype(int)  # strong directions and weak
        self.centres = APART * rng.normal(size=(classes, len(used))) @ self.mix[used]  # [K, D]
        self.labels = lambda count: np.random.default_rng(1).integers(0, classes, count)

    def write(self, folder: Path, count: int) -> Shards:
        """Write ``count`` rows of float16, unless they are there."""
        width = self.mix.shape[0]
        store = Shards(folder / f"{count}x{width}x{len(self.centres)}", count, (1, width), SHARD, "float16")
        labels = self.labels(count)
        for shard in store.missing():
            rows = store.held(shard)
            noise = np.random.default_rng([2, shard]).normal(size=(len(rows), width)) @ self.mix
            store.write(shard, (self.centres[labels[rows.start : rows.stop]] + noise)[:, None])
        return store

    def best(self, x: np.ndarray) -> np.ndarray:
        """Return the most probable class of features ``[N, D]``: no classifier is better."""
        precision = np.linalg.inv(self.mix.T @ self.mix)
        weights = precision @ self.centres.T
        return np.asarray((x @ weights - 0.5 * (self.centres.T * weights).sum(0)).argmax(1))


def main(
    what: Literal["probe", "neighbours", "retrieval", "agreement"] = "probe",
    rows: int = 240_000,
    tests: int = 20_000,
    width: int = 768,
    classes: int = 400,
    strengths: tuple[float, ...] = LinearProbe.strengths,
    parts: tuple[int, ...] = (4, 1),
    folder: Path = FOLDER,
) -> None:
    """Measure a read-out and print the figures.

    Args:
        what: ``probe``: the linear probe with its choice of C; ``neighbours``: k nearest with its choice of k;
            ``retrieval``: R@1. ``agreement``: both solvers on 20,000 rows.
        rows: training rows.
        tests: test rows.
        width: features.
        classes: classes.
        strengths: candidates for C.
        parts: divisors of the number of training rows, to show that memory does not grow with it.
        folder: where features are kept.
    """
    generator = Generator(width, classes)
    store = generator.write(folder, rows + tests)
    labels = generator.labels(rows + tests)
    test = range(rows, rows + tests)
    right = [generator.best(store[test[start : start + SHARD]][:, 0]) for start in range(0, tests, SHARD)]
    print(f"{rows} x {width}, {classes} classes, {tests} test rows; chance {1 / classes:.4f}")
    print(f"best possible accuracy {(np.concatenate(right) == labels[list(test)]).mean():.4f}")
    bank = Bank(store, labels, np.arange(len(labels)) // 4, classes)
    if what == "agreement":
        _apart(_agreement, bank, range(CUT), test)
        return
    probe = LinearProbe(strengths=strengths)
    for part in parts:
        _apart(_read, what, probe, bank, range(rows // part), test)


def _apart(function: Callable[..., None], *arguments: object) -> None:
    """Call a function in a new process."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        pool.submit(function, *arguments).result()


def _read(what: str, probe: LinearProbe, bank: Bank, train: range, test: range) -> None:
    fold = Fold("f", tuple(train), tuple(test))
    before, begun, spent = _peak(), time.perf_counter(), time.process_time()
    if what == "retrieval":
        told = f"R@1 {retrieval_hits(bank, fold, (1,)).mean():.4f}"
    else:
        scores = {"probe": probe, "neighbours": NearestNeighbours()}[what].scores(bank, fold)
        told = f"accuracy {_accuracy(scores.values, bank, test):.4f}, chosen {scores.chosen}"
    seconds, processor = time.perf_counter() - begun, time.process_time() - spent
    print(
        f"{what}, {len(train)} rows: {seconds:.0f} s ({processor:.0f} s of processor time, load "
        f"{os.getloadavg()[0]:.1f}), peak memory {_peak():.2f} GB (before {before:.2f}), {told}",
        flush=True,
    )


def _agreement(bank: Bank, train: range, test: range) -> None:
    for solver in ("device", "sklearn"):
        begun = time.process_time()
        probe = LinearProbe(solver=solver)  # type: ignore[arg-type]
        for strength in STRENGTHS:
            scores = probe.fit_predict(bank, train, test, strength)
            print(f"{solver}, C = {strength}: accuracy {_accuracy(scores, bank, test):.4f}", flush=True)
        print(f"{solver}: {time.process_time() - begun:.0f} s of processor time", flush=True)


def _accuracy(scores: np.ndarray, bank: Bank, test: range) -> float:
    return float((scores.mean(1).argmax(1) == bank.labels[list(test)]).mean())


def _peak() -> float:
    """Return the largest memory so far in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    auto_cli(main)
