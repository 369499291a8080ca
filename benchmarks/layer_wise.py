"""Whether layers must be trained one by one: with sigmoids and SGD, and with ReLUs and Adam.

    python benchmarks/layer_wise.py ../shared/data/ut_interaction --steps 400

Prints the mean squared error of an auto-encoder of 16 x 16 x 4 volumes of held-out videos, relative to their variance,
with its interval over groups, beside that of as many principal components (Hinton & Salakhutdinov, Science 2006).
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from avssl.catalog.index import open_manifest
from avssl.clips import Clips
from avssl.data.dataset import ClipDataset, collate
from avssl.data.samplers import RandomClips
from avssl.data.transforms import Augment
from avssl.encoders import VolumeStack
from avssl.evaluation.metrics import bootstrap
from avssl.methods import LayerWise
from avssl.pixels import MEAN, STD
from avssl.training.data import split

BATCH = 256  # volumes
RATES = {"sigmoid": 3.0, "relu": 1e-3}  # of SGD with momentum 0.9 (of errors per pixel), and of Adam


def volumes_of(videos: Any, clips: int, size: int) -> tuple[Tensor, list[str]]:
    """Return clips ``[N, 4, 3, S, S]``, normalised, and the group of each."""
    sampler = RandomClips(clips=clips, num_frames=4, step=0.08)
    dataset = ClipDataset(videos, sampler, Augment(size, (0.4, 1.0), square=False), seed=0, short="loop")
    shown = collate([dataset[0, place] for place in range(len(dataset))])[0]
    groups = [str(path) for path in videos.units().to_pylist()]
    video = shown.normalised(torch.tensor(MEAN), torch.tensor(STD)).video
    return video.flatten(0, 1), [group for group in groups for _ in range(clips)]


def train(kind: str, activation: str, clips: Tensor, steps: int, width: int, depth: int) -> LayerWise:
    """Train on random batches of clips."""
    torch.manual_seed(0)
    method = LayerWise(VolumeStack(width, depth, activation), kind=kind)  # type: ignore[arg-type]
    parameters = list(method.parameters())
    optimizer: torch.optim.Optimizer = torch.optim.Adam(parameters, RATES[activation])
    if activation == "sigmoid":
        optimizer = torch.optim.SGD(parameters, RATES[activation], momentum=0.9)
    per_clip = (clips.shape[-1] // 16) ** 2
    for step in range(steps):
        rows = torch.randint(len(clips), (BATCH // per_clip,))
        some = clips[rows][:, None]
        times = torch.zeros(some.shape[:3], dtype=torch.float64)
        optimizer.zero_grad()
        method(Clips(some, times))["loss"].backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        method.after_step((step + 1) / steps)
    return method.eval()


def errors(inputs: Tensor, decoded: Tensor, per_clip: int) -> np.ndarray:
    """Return each clip's squared error relative to the variance of all."""
    variance = (inputs - inputs.mean(0)).square().mean()
    return ((inputs - decoded).square().mean(1) / variance).unflatten(0, (-1, per_clip)).mean(1).numpy()


def main(words: Sequence[str] | None = None) -> None:
    """Train and print."""
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("root", type=Path)
    made.add_argument("--steps", type=int, default=400)
    made.add_argument("--width", type=int, default=32)
    made.add_argument("--depth", type=int, default=4)
    made.add_argument("--size", type=int, default=64)
    made.add_argument("--activations", nargs="+", choices=RATES, default=[*RATES])
    args = made.parse_args(words)
    trained, measured = split(open_manifest(args.root), 0.2)
    clips, _ = volumes_of(trained, 6, args.size)
    held_out, groups = volumes_of(measured, 4, args.size)
    per_clip = (args.size // 16) ** 2
    stack = VolumeStack(args.width, args.depth)
    seen, told = (stack.volumes(part).flatten(0, 3) for part in (clips, held_out))
    centre = seen.mean(0)
    basis = torch.linalg.eigh((seen - centre).T @ (seen - centre))[1][:, -args.width :]
    rows = {"mean volume": centre.expand_as(told), f"PCA {args.width}": (told - centre) @ basis @ basis.T + centre}
    for activation in args.activations:
        for kind in ("none", "autoencoder", "rbm"):
            method = train(kind, activation, clips, args.steps, args.width, args.depth)
            with torch.no_grad():
                rows[f"{activation}, {'SGD' if activation == 'sigmoid' else 'Adam'}, {kind}"] = method.reconstructed(
                    held_out
                )[1]
    for name, decoded in rows.items():
        found = errors(told, decoded, per_clip)
        low, high = bootstrap(found[None].astype(float), groups, 0)
        print(f"{name:28} {found.mean():.3f} [{low:.3f}, {high:.3f}]", flush=True)


if __name__ == "__main__":
    main()
