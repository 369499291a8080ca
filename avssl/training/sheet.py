"""A contact sheet of what a method sees: frames with their times, the sound, the target in words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from avssl.clips import Clips
from avssl.data.dataset import ClipDataset, collate
from avssl.methods import Method
from avssl.training.config import parse
from avssl.training.run import Data, split

COLUMNS = 12  # frames of a clip that are drawn at most


def show(arguments: Sequence[str], out: Path, videos: int = 4) -> Path:
    """Draw the first items of a config's first epoch.

    Args:
        arguments: as for ``tools/train.py``: a config and overrides.
        out: the picture, of any type that matplotlib writes.
        videos: how many items.

    Raises:
        SystemExit: with a message, where the config is wrong.
    """
    made, config = parse(arguments)
    torch.manual_seed(config.seed)
    built = made.instantiate(config)
    method: Method = built.method
    data: Data = built.data
    training, _ = split(data.open(), data.held_out)
    dataset = ClipDataset(
        training,
        method.sampler,
        data.transform,
        method.labeller,
        data.audio_rate,
        config.seed,
        data.short,
        data.backend,
    )
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(config.seed))[:videos]
    clips, _ = collate([dataset[0, index] for index in order.tolist()])
    draw(clips, method.describe(clips), out, f"{type(method).__name__}: {config.name}")
    return out


def draw(clips: Clips, words: Sequence[Sequence[str]], out: Path, title: str) -> None:
    """Write the sheet: a row a clip, a column a frame; below a clip its spectrogram where there is sound.

    Args:
        clips: uint8, B videos.
        words: B lists of N descriptions of the target.
        out: the picture.
        title: above it.
    """
    from matplotlib.figure import Figure

    b, n, t = clips.video.shape[:3]
    chosen = torch.linspace(0, t - 1, min(t, COLUMNS)).round().long().tolist()
    sound = clips.audio is not None
    rows = b * n * (2 if sound else 1)
    figure = Figure(figsize=(1.5 * len(chosen) + 0.4, 1.85 * rows + 0.6), layout="constrained")
    figure.suptitle(title)
    grid = figure.add_gridspec(rows, len(chosen))
    for place in range(b * n):
        video, clip = divmod(place, n)
        row = place * (2 if sound else 1)
        for column, frame in enumerate(chosen):
            axes = figure.add_subplot(grid[row, column])
            axes.imshow(clips.video[video, clip, frame].permute(1, 2, 0).numpy())
            axes.set_title(f"{clips.times[video, clip, frame]:.2f} s", fontsize=8)
            axes.set_axis_off()
            if column == 0:
                axes.text(0, 0, words[video][clip], fontsize=8, color="white", backgroundcolor="black", va="bottom",
                          transform=axes.transAxes)  # fmt: skip
        if clips.audio is not None and clips.audio_times is not None:
            axes = figure.add_subplot(grid[row + 1, :])
            start, stop = clips.audio_times[video, clip].tolist()
            samples = clips.audio[video, clip].numpy()
            axes.specgram(
                samples + 1e-6, NFFT=256, noverlap=128, Fs=len(samples) / (stop - start), xextent=(start, stop)
            )
            axes.set_ylabel("Hz", fontsize=8)
            axes.tick_params(labelsize=7)
    figure.savefig(out, dpi=100)
