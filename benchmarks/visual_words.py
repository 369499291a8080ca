"""Retrieval of videos by their words: mean vectors, bag of words, and pairs of words.

    python benchmarks/visual_words.py ../shared/data/ut_interaction --run runs/visual_words

Prints how often the nearest video of another group is of the same class, with its interval over groups, beside chance.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import normalize, one_hot

from avssl.catalog.index import open_manifest
from avssl.encoders import Words, load_encoder
from avssl.evaluation.classes import class_numbers
from avssl.evaluation.features import Normalise, ViewDataset, Views
from avssl.evaluation.metrics import bootstrap
from avssl.evaluation.splits import groups_of
from avssl.runtime.device import Machine


def main(words: Sequence[str] | None = None) -> None:
    """Read, compare, print."""
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("root", type=Path)
    made.add_argument("--run", type=Path, required=True)
    made.add_argument("--pattern", default=None, help="regular expression for (?P<group>...) in a file's name")
    made.add_argument("--clips", type=int, default=12)
    made.add_argument("--size", type=int, default=64)
    args = made.parse_args(words)
    encoder, videos, machine = load_encoder(args.run), open_manifest(args.root), Machine(device="cpu")
    if not isinstance(encoder, Words):
        raise SystemExit(f"{args.run}: its encoder is {type(encoder).__name__}, not Words")
    views = Views(clips=args.clips, num_frames=4, step=0.08, size=args.size, segments=1)
    labels, groups = class_numbers(videos), groups_of(videos, args.pattern)
    kinds = len(encoder.centres)
    statistics = Normalise.of(encoder, machine)
    with torch.no_grad():
        shown = machine.loader(ViewDataset(videos, range(len(videos)), views))
        told = torch.stack([encoder.words_of(statistics(clips[0])) for clips in shown])  # [V, N]
        described = {
            "mean of vectors": encoder.table(told).mean(1),
            "bag of words": one_hot(told, kinds).float().sum(1),
            "pairs of words": one_hot(told[:, :-1] * kinds + told[:, 1:], kinds**2).float().sum(1),
        }
    apart = np.array(groups)[:, None] != np.array(groups)
    same = labels[:, None] == labels
    chance = float(np.mean([(same[row] & apart[row]).sum() / apart[row].sum() for row in range(len(labels))]))
    for name, vectors in described.items():
        cosine = (normalize(vectors) @ normalize(vectors).T).numpy()
        nearest = np.where(apart, cosine, -np.inf).argmax(1)
        right = (labels[nearest] == labels).astype(float)
        low, high = bootstrap(right[None], groups, 0)
        print(f"{name:16} {right.mean():.3f} [{low:.3f}, {high:.3f}]  chance {chance:.3f}", flush=True)


if __name__ == "__main__":
    main()
