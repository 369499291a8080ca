"""What runs of BiGAN draw and what their networks know, on labelled small pictures.

    python benchmarks/adversarial.py cifar10_subset/train cifar10_subset/test [runs/turns,runs/plain]

First the Fréchet distance between drawn pictures and those of the test set: that of two normal distributions fitted to
features (Heusel et al., NIPS 2017, equation 6), here of a supervised network that is trained on the training set on the
spot. It is no FID, and says nothing beyond this table. Beside it: training pictures, the lowest that can be hoped for;
an untrained generator; noise.

Then the accuracy of ridge regression on features of critic and encoder, means over each of their stages, its strength
chosen on the training set by leaving one out; and the gain of each critic over the last one, with a 95 % interval over
resamples of test pictures.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jsonargparse import auto_cli
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table
from sklearn.linear_model import RidgeClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.encoders import FrameEncoder, ResNet
from avssl.evaluation.metrics import bootstrap
from avssl.methods import BiGAN
from avssl.pixels import MEAN, STD, normalise
from avssl.training.config import parse
from avssl.training.sheet import load_method

Array = NDArray[np.float64]
PART = 256  # pictures at once


def main(train: Path, test: Path, runs: list[Path], epochs: int = 12, seed: int = 0) -> None:
    """Print both tables.

    Args:
        train: folder of classes of pictures.
        test: the same classes.
        runs: folders of runs of BiGAN; others are compared with the last.
        epochs: passes over the training set of the supervised network.
        seed: of all that is drawn.
    """
    torch.manual_seed(seed)
    (learnt, labels), (shown, classes) = (pictures_of(folder) for folder in (train, test))
    network = supervised(learnt, labels, epochs)
    true = described(network, shown)
    told = (network[1](true.float()).argmax(1) == classes).double().mean()
    table = Table("pictures", "Fréchet distance", title=f"features of a supervised network, accuracy {told:.3f}")
    distances = {
        "of the training set": frechet(true, described(network, learnt[torch.randperm(len(learnt))[: len(shown)]])),
        "noise": frechet(true, described(network, torch.rand_like(shown))),
    }
    methods: dict[str, BiGAN] = {}
    for run in runs:
        made, config = parse([str(run / "config.yaml")])
        config.logger = None
        for name in ("untrained", run.name):
            torch.manual_seed(seed)
            methods[name] = made.instantiate(config).method
        load_method(methods[run.name], run)
    for name, method in methods.items():
        distances[f"drawn by {name}"] = frechet(true, described(network, drawn(method.eval(), len(shown))))
    for name, distance in distances.items():
        table.add_row(name, f"{distance:.2f}")
    Console(width=110).print(table)
    probes = Table("features", "accuracy", "critic's gain over the last run's", title="linear read-out")
    right: dict[tuple[str, str], Array] = {}
    for name, method in methods.items():
        for part, encoder in (("critic", method.critic), ("encoder", method.encoder)):
            right[name, part] = probed(encoder, learnt, labels, shown, classes)
    for (name, part), hits in right.items():
        cells = [interval(hits)]
        if part == "critic" and name != runs[-1].name:
            cells.append(interval(hits - right[runs[-1].name, "critic"]))
        probes.add_row(f"{part} of {name}", *cells)
    Console(width=110).print(probes)


def pictures_of(folder: Path) -> tuple[Tensor, Tensor]:
    """Read pictures ``[N, 3, 32, 32]`` in [0, 1] and classes ``[N]`` of a folder of classes."""
    names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    found = [(path, names.index(path.parent.name)) for path in sorted(folder.glob("*/*")) if path.is_file()]
    pixels = np.stack([np.asarray(Image.open(path).convert("RGB").resize((32, 32))) for path, _ in found])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255, torch.tensor([label for _, label in found])


def normal(rgb: Tensor) -> Tensor:
    """Return one-frame clips ``[N, 1, 3, H, W]`` as encoders expect them, of RGB in [0, 1]."""
    return normalise((255 * rgb).round().to(torch.uint8), torch.tensor(MEAN), torch.tensor(STD))[:, None]


def supervised(rgb: Tensor, labels: Tensor, epochs: int) -> nn.Sequential:
    """Train an encoder and a linear layer on labelled pictures, by Adam with mirrored and shifted copies."""
    encoder = ResNet(18, 16)
    network = nn.Sequential(encoder, nn.Linear(encoder.num_features, int(labels.max()) + 1))
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3, weight_decay=0.05)
    steps = epochs * (len(rgb) // 100)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for _ in range(epochs):
        for rows in torch.randperm(len(rgb)).split(100)[: len(rgb) // 100]:
            part = rgb[rows].flip(-1) if torch.rand(()) < 0.5 else rgb[rows]
            left, up = torch.randint(0, 9, (2,)).tolist()
            part = F.pad(part, (4, 4, 4, 4), mode="reflect")[..., up : up + 32, left : left + 32]
            loss = F.cross_entropy(network(normal(part)), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval()


def described(network: nn.Sequential, rgb: Tensor) -> Tensor:
    """Return features ``[N, D]`` float64 of pictures in [0, 1]."""
    with torch.no_grad():
        return torch.cat([network[0](normal(part)) for part in rgb.split(PART)]).double()


def frechet(first: Tensor, second: Tensor) -> float:
    """Return the Fréchet distance between normal distributions fitted to ``[N, D]`` and ``[M, D]``."""
    one, other = first.T.cov(), second.T.cov()
    values, vectors = torch.linalg.eigh(one)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    between = torch.linalg.eigvalsh(root @ other @ root).clamp(min=0).sqrt().sum()
    apart = (first.mean(0) - second.mean(0)).square().sum()
    return float(apart + one.trace() + other.trace() - 2 * between)


def drawn(method: BiGAN, count: int) -> Tensor:
    """Draw pictures ``[count, 3, S, S]`` in [0, 1]."""
    blank = Clips(torch.zeros(1, 1, 1, 3, method.size, method.size, dtype=torch.uint8), torch.zeros(1, 1, 1))
    clips = blank.normalised(torch.tensor(MEAN), torch.tensor(STD))
    codes = 2 * torch.rand(count, method.codes) - 1
    with torch.no_grad():
        return torch.cat([clips.denormalise(method.draw(part, clips)) for part in codes.split(PART)]).clamp(0, 1)


def probed(encoder: FrameEncoder, learnt: Tensor, labels: Tensor, shown: Tensor, classes: Tensor) -> Array:
    """Return whether each test picture is told by ridge regression on means over stages, ``[N]`` 0 or 1."""

    def means(rgb: Tensor) -> Array:
        with torch.no_grad():
            parts = [encoder.eval().stages(normal(part)) for part in rgb.split(PART)]
        return torch.cat([torch.cat([stage.mean((2, 3)) for stage in part], 1) for part in parts]).double().numpy()

    model = make_pipeline(StandardScaler(), RidgeClassifierCV(np.logspace(-1, 5, 13)))
    model.fit(means(learnt), labels.numpy())
    return (model.predict(means(shown)) == classes.numpy()).astype(np.float64)


def interval(values: Array) -> str:
    """Return a mean and its interval in words."""
    low, high = bootstrap(values[None], range(len(values)), 0)
    return f"{values.mean():+.3f} ({low:+.3f} to {high:+.3f})"


if __name__ == "__main__":
    auto_cli(main)
