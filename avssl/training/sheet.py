"""Contact sheet of a method's inputs and targets: frames with their times, the sound, the target in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import torch
from torch import Tensor

from avssl.clips import Clips
from avssl.data.dataset import collate
from avssl.methods import Method
from avssl.recipe.checkpoints import VerifiedCheckpoints, latest
from avssl.runtime.files import room_in
from avssl.training.config import parse
from avssl.training.data import Data
from avssl.training.module import statistics

COLUMNS = 12  # most frames drawn per clip; short clips of a video stand side by side in as many
WIDTH = 3.5  # inches, at least: of the title
SIDE, ROOM = 1.5, 0.35  # inches: width of a picture; what is above and below it
TALL = 2  # height over width of the tallest pictures; taller ones, such as columns of a spectrogram, are squashed
LETTERS = 24  # of a target's description per column
GAPS = 16  # gaps that are together as wide as a picture


def show(arguments: Sequence[str], out: Path, videos: int = 4, run: Path | None = None) -> Path:
    """Draw the first items of a config's first epoch, or a trained run's predictions on held-out videos.

    Args:
        arguments: a config and overrides, as for ``avssl train``.
        out: picture to write, of any type that matplotlib writes.
        videos: number of items.
        run: folder of a run of this config, whose last checkpoint gives the weights.

    Raises:
        SystemExit: with a message, if the config is wrong.
        FileNotFoundError: if the run has no checkpoint.
        ValueError: if the run's weights do not fit the method.
    """
    made, config = parse(arguments)
    config.logger = None
    torch.manual_seed(config.seed)
    built = made.instantiate(config)
    method: Method = built.method
    data: Data = built.data
    data.augment = "workers"  # there is no other device here
    if run is not None:
        load_method(method, run)
    both = data.datasets(method, config.seed, run)
    dataset = both.training if run is None else both.held_out
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(config.seed))[:videos]
    clips, _ = collate([dataset[0, index] for index in order.tolist()])
    with torch.no_grad():
        torch.manual_seed(config.seed)
        pictures = method.eval().pictures(clips.normalised(*map(torch.tensor, statistics(method.encoder))))
    draw(clips, method.describe(clips), pictures, out, f"{type(method).__name__}: {config.name}")
    return out


def load_method(method: Method, run: Path) -> None:
    """Load the last checkpoint of a run; raise FileNotFoundError if there is none, ValueError if it does not fit."""
    checkpoint = latest(run / "checkpoints")
    if checkpoint is None:
        raise FileNotFoundError(f"{run / 'checkpoints'}: no checkpoint there; train first (avssl train)")
    state = VerifiedCheckpoints().load_checkpoint(checkpoint)["state_dict"]
    prefix = "method."  # beside it, there may be the weights' average
    try:
        method.load_state_dict({name[len(prefix) :]: state[name] for name in state if name.startswith(prefix)})
    except RuntimeError as error:
        raise ValueError(f"{run} was not trained with this config: {error}") from error


def draw(clips: Clips, words: Sequence[Sequence[str]], pictures: Mapping[str, Tensor], out: Path, title: str) -> None:
    """Draw clips with a column per frame; below each the method's pictures and the spectrogram.

    The clips are uint8; ``words`` are lists, one per video, of a description per clip (`Method.describe`), and
    ``pictures`` are those of `Method.pictures`.
    """
    from matplotlib.figure import Figure

    b, n, t = clips.video.shape[:3]
    chosen = some(t)
    sound = clips.audio is not None and clips.audio_times is not None
    sides = [SIDE * min(TALL, shown.shape[-2] / shown.shape[-1]) for shown in (clips.video, *pictures.values())]
    heights = [side + ROOM for side in sides] + [SIDE + ROOM] * sound  # of the rows of a clip
    height = len(heights)
    columns = max([len(chosen), *(len(some(drawn.shape[2])) for drawn in pictures.values())])
    across = min(n, max(1, COLUMNS // columns))  # clips side by side
    lines = -(-n // across)
    size = max(WIDTH, SIDE * columns * across + 0.4), b * lines * sum(heights) + 0.6
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(title)
    grid = figure.add_gridspec(b * lines * height, columns * across, height_ratios=heights * (b * lines))
    for place in range(b * n):
        video, clip = divmod(place, n)
        row, left = (video * lines + clip // across) * height, clip % across * columns
        titles = [f"{seconds:.2f} s" for seconds in clips.times[video, clip, chosen].tolist()]
        axes = _strip(figure, grid[row, left : left + columns], clips.video[video, clip, chosen], columns, titles)
        _label(axes, fill(words[video][clip], LETTERS * columns))
        for below, (name, drawn) in enumerate(pictures.items(), start=1):
            shown = drawn[video, clip, some(drawn.shape[2])].float().clamp(0, 1).mul(255).round().byte()
            _label(_strip(figure, grid[row + below, left : left + columns], shown, columns), name)
        if clips.audio is not None and clips.audio_times is not None:
            axes = figure.add_subplot(grid[row + height - 1, left : left + columns])
            start, stop = clips.audio_times[video, clip].tolist()
            heard = clips.audio[video, clip]  # [S], or [C, S], of which the first is drawn
            samples = heard.reshape(-1, heard.shape[-1])[0].numpy() + 1e-6
            rate = len(samples) / (stop - start)
            axes.specgram(samples, NFFT=256, noverlap=128, Fs=rate, xextent=(start, stop))
            axes.set_ylabel("Hz", fontsize=8)
            axes.tick_params(labelsize=7)
    with room_in(out.parent):
        figure.savefig(out, dpi=100)


def some(count: int) -> list[int]:
    """Return the indices of at most `COLUMNS` of ``count`` pictures, evenly spaced."""
    return torch.linspace(0, count - 1, min(count, COLUMNS)).round().long().tolist()


def _strip(figure: Any, place: Any, pictures: Tensor, columns: int, titles: Sequence[str] = ()) -> Any:
    """Draw ``[T, 3, H, W]`` uint8 side by side, with room for ``columns``, as one image: axes take long to draw."""
    height, width = pictures.shape[-2:]
    apart = width + max(1, width // GAPS)
    whole = torch.full((3, height, columns * apart), 255, dtype=torch.uint8)
    for column, picture in enumerate(pictures.cpu()):
        whole[:, :, column * apart : column * apart + width] = picture
    axes = figure.add_subplot(place)
    axes.imshow(whole.permute(1, 2, 0).numpy(), aspect="auto" if height > TALL * width else "equal")
    for column, title in enumerate(titles):
        axes.text(column * apart + width / 2, -0.04 * height, title, fontsize=8, ha="center", va="bottom")
    axes.set_axis_off()
    return axes


def _label(axes: Any, words: str) -> None:
    """Write words into the lower left corner; long lines overlap the pictures to the right."""
    style = {"fontsize": 8, "color": "white", "backgroundcolor": "black", "va": "bottom", "in_layout": False}
    axes.text(0, 0, words, **style, transform=axes.transAxes)
    axes.set_zorder(9)
