"""A classifier of videos in a folder of its own: encoder, head, classes and how videos are read. Nothing is unpickled.

>>> import avssl
>>> model = avssl.load_classifier("model")  # doctest: +SKIP
>>> answer = model("video.mp4")  # doctest: +SKIP
>>> answer.label, answer.probability  # doctest: +SKIP
('push', 0.83)
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from avssl.encoders import Encoder, for_inference, load_encoder, save_encoder
from avssl.evaluation.calibration import temper, temper_each
from avssl.evaluation.classifier.head import LinearHead
from avssl.evaluation.classifier.settings import SETTINGS, Settings, read_settings
from avssl.evaluation.features import VIEWS_AT_ONCE, Normalise, Views, check_fits, encode
from avssl.evaluation.finetune import AttentiveClassifier, Classifier
from avssl.evaluation.reading import Grid, Reading
from avssl.media import VideoInfo, probe
from avssl.runtime.device import Machine
from avssl.runtime.files import write_atomically, write_text
from avssl.runtime.halving import Halving

HEAD = "head.safetensors"
SPREAD = "spread"  # a tensor in that file
LONG = 2.0  # times the longest training clip, above which a video is cut into windows
NETWORKS: dict[str, type[Classifier | AttentiveClassifier]] = {
    "attentive": AttentiveClassifier,
    "fine_tune": Classifier,
}


@dataclass(frozen=True)
class Answer:
    """What a classifier says of a video, or of a window of it.

    Attributes:
        path: the video.
        start: first second.
        stop: end, in seconds.
        probabilities: of each class, the likeliest first.
        windows: of a long video, one answer for each; its own probabilities are their means.
    """

    path: Path
    start: float
    stop: float
    probabilities: Mapping[str, float]
    windows: tuple[Answer, ...] = ()

    @property
    def label(self) -> str:
        """The likeliest class."""
        return next(iter(self.probabilities))

    @property
    def probability(self) -> float:
        """Probability of the likeliest class."""
        return self.probabilities[self.label]

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """Return the likeliest classes with their probabilities."""
        return list(self.probabilities.items())[:count]


class VideoClassifier:
    """A classifier that was made by ``avssl fit``; `load_classifier` loads it.

    Args:
        encoder: the network, with its card.
        head: a `LinearHead` per shape; of the other kinds, the whole network around ``encoder``.
        settings: everything else.
        spread: ``[2, D']`` mean and standard deviation of the first shape of a training video, averaged over its views.
        machine: where to compute.
    """

    def __init__(
        self,
        encoder: Encoder,
        head: nn.Module,
        settings: Settings,
        spread: Tensor,
        machine: Machine = Machine(),  # noqa: B008
    ) -> None:
        self.settings, self.spread, self.machine = settings, spread, machine
        self.encoder, self.head = encoder, head.eval()
        self.parts = Halving(VIEWS_AT_ONCE)
        self._fast: Encoder | None = None
        self._widths: dict[tuple[Any, ...], list[int]] = {}

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names."""
        return self.settings.classes

    @overload
    def __call__(  # type: ignore[overload-overlap]  # a str is an Iterable[str], and means one video
        self, videos: str | Path, window: float | None = ..., hop: float | None = ...
    ) -> Answer: ...

    @overload
    def __call__(
        self, videos: Iterable[str | Path], window: float | None = ..., hop: float | None = ...
    ) -> list[Answer]: ...

    def __call__(
        self, videos: str | Path | Iterable[str | Path], window: float | None = None, hop: float | None = None
    ) -> Answer | list[Answer]:
        """Classify a video, or each of several; `windows` describes the other arguments.

        Raises:
            MediaError: if a video can't be read.
        """
        if not isinstance(videos, str | Path):
            return [self(video, window, hop) for video in videos]
        info = probe(videos)
        spans = self.windows(info.duration, window, hop)
        at_once = max(1, VIEWS_AT_ONCE // sum(views.count for views in self.settings.every_view))
        found = [
            self.probabilities(self.read(info, spans[first : first + at_once]))
            for first in range(0, len(spans), at_once)
        ]
        answers = [
            self.answer(Path(videos), *span, row) for span, row in zip(spans, np.concatenate(found), strict=True)
        ]
        if len(answers) == 1:
            return answers[0]
        whole = self.answer(Path(videos), 0.0, info.duration, np.concatenate(found).mean(0))
        return replace(whole, windows=tuple(answers))

    def answer(self, path: Path, start: float, stop: float, probabilities: np.ndarray) -> Answer:
        """Name the ``[K]`` probabilities of a video or window."""
        order = np.argsort(-probabilities, kind="stable")
        return Answer(path, start, stop, {self.classes[place]: float(probabilities[place]) for place in order})

    def windows(
        self, duration: float, window: float | None = None, hop: float | None = None
    ) -> list[tuple[float, float]]:
        """Return the (start, stop) in seconds of the parts of a video that are classified each on its own.

        Args:
            duration: of the video.
            window: length of a part; 0 takes every video as a whole. By default a video is a whole up to twice the
                longest training clip, and cut into windows of their median length above.
            hop: from the start of a window to the next; by default half a window. The last one ends with the video.

        Raises:
            ValueError: if a number is negative, or the hop is 0.
        """
        if window is None and duration > LONG * self.settings.longest:
            window = self.settings.typical
        if not window or duration <= window:
            return [(0.0, duration)]
        hop = hop or window / 2
        count = math.ceil((duration - window) / hop - 1e-9) + 1
        starts = [min(place * hop, duration - window) for place in range(count)]
        return [(start, start + window) for start in starts]

    def read(self, info: VideoInfo, spans: Sequence[tuple[float, float]]) -> list[Tensor]:
        """Read some windows of a video: for each of `Settings.every_view` uint8 ``[N, M, T, 3, S, S]``.

        Raises:
            MediaError: if the video can't be read.
        """
        last, found = math.nextafter(info.duration, 0), []
        for views in self.settings.every_view:
            times = [views.times(replace(info, duration=stop - start)) + start for start, stop in spans]
            found.append(views.read(info, torch.cat(times).clamp(max=last)).unflatten(0, (len(spans), -1)))
        return found

    def probabilities(self, pixels: Sequence[Tensor]) -> np.ndarray:
        """Return calibrated class probabilities ``[N, K]`` of N windows, as `read` gives them."""
        settings = self.settings
        if settings.how == "linear":
            logits: list[Tensor] = []
            for views, seen in zip(settings.every_view, pixels, strict=True):
                logits += self._linear(views, seen)
            shares = torch.stack([self._shares(each) for each in logits]).mean(0)
        else:
            mean_std = Normalise.of(self.encoder, self.machine)
            network = self.head.to(self.machine.target)

            def run(part: Tensor) -> Tensor:
                with torch.inference_mode(), self.machine.autocast():
                    return network(mean_std(part)).float().cpu()

            (seen,) = pixels
            shares = self._shares(self.parts(run, seen.flatten(0, 1)).unflatten(0, (len(seen), -1)))
        return (temper_each if settings.several else temper)(shares.numpy(), settings.temperature)

    def _shares(self, logits: Tensor) -> Tensor:
        """Return the mean probabilities ``[N, K]`` of logits ``[N, M, K]``."""
        return (logits.double().sigmoid() if self.settings.several else logits.double().softmax(2)).mean(1)

    def _linear(self, views: Views, pixels: Tensor) -> Iterator[Tensor]:
        """Yield the logits ``[N, M', K]`` of each shape that reads these views."""
        shapes = [(number, shape) for number, shape in enumerate(self.settings.shapes) if shape.views == views]
        grids = list(dict.fromkeys(shape.grid for _, shape in shapes))
        read = dict(zip(grids, self.features(views, pixels, grids), strict=True))
        for number, shape in shapes:
            head: LinearHead = self.head[number]  # type: ignore[index]
            samples = shape.arranged(read[shape.grid], self.encoder.num_features)  # [N, M', D']
            with torch.inference_mode():
                yield head(samples.to(head.weight.device)).cpu()  # type: ignore[arg-type]

    def features(self, views: Views, pixels: Tensor, grids: Sequence[Grid | None]) -> Sequence[Tensor]:
        """Return what is read of views ``[N, M, T, 3, S, S]`` on each grid: ``[N, M, D']`` float32 on the CPU."""
        if self._fast is None:
            self._fast = for_inference(self.encoder.to(self.machine.target), self.machine.half)
        mean_std, readings = Normalise.of(self.encoder, self.machine), [Reading(grid) for grid in grids]
        found = encode(self._fast, pixels.flatten(0, 1), views, mean_std, self.machine, readings, self.parts).cpu()
        asked = (views, *grids)
        if asked not in self._widths:
            self._widths[asked] = widths(self.encoder, views, grids)
        return found.unflatten(0, (len(pixels), -1)).split(self._widths[asked], 2)

    def likeness(self, pixels: Sequence[Tensor]) -> Tensor:
        """Return unit vectors ``[N, D']`` whose products tell whether windows look the same, of what `read` gives.

        They are the mean features of a window in the first shape, standardised by those of the training clips, so that
        what all clips have in common does not count.
        """
        first = self.settings.shapes[0]
        (features,) = self.features(first.views, pixels[0], [first.grid])
        return standardised(features.mean(1), self.spread)

    def save(self, folder: Path) -> None:
        """Write the classifier into a folder, from which `load_classifier` loads it."""
        save_encoder(self.encoder, folder / "encoder", self.encoder.card)
        own = {name: value for name, value in self.head.state_dict().items() if not name.startswith("encoder.")}
        tensors = {**own, SPREAD: self.spread}
        content = save({name: value.detach().cpu().contiguous() for name, value in tensors.items()})
        write_atomically(folder / HEAD, lambda file: file.write(content))
        write_text(folder / SETTINGS, json.dumps(self.settings.to_json(), indent=1, allow_nan=False) + "\n")


def standardised(features: Tensor, spread: Tensor) -> Tensor:
    """Return unit vectors of features ``[N, D]``, less the mean and over the standard deviation in ``[2, D]``."""
    mean, std = spread
    return nn.functional.normalize((features - mean) / std.clamp(min=1e-6), dim=1)


def load_classifier(folder: str | Path, machine: Machine = Machine()) -> VideoClassifier:  # noqa: B008
    """Load a classifier that ``avssl fit`` has written.

    Only JSON and safetensors are read, and the encoder's class must be an `avssl.encoders.Encoder`, so a folder from
    elsewhere can't run code of its own.

    Args:
        folder: the folder.
        machine: where to compute.

    Raises:
        FileNotFoundError: if there is no classifier.
        ValueError: if a file is damaged, or they don't fit each other.
    """
    folder = Path(folder)
    settings = read_settings(folder)
    encoder = load_encoder(folder / "encoder")
    (wide,) = widths(encoder, settings.views, [settings.shapes[0].grid])
    try:
        tensors = load_file(folder / HEAD)
    except SafetensorError as error:
        raise ValueError(f"{folder / HEAD}: not a readable safetensors file ({error}). Fit it again") from error
    head, spread = new_head(encoder, settings), tensors.pop(SPREAD, torch.zeros(0))
    if spread.shape != (2, wide):
        raise ValueError(f"{folder / HEAD}: {SPREAD!r} is {list(spread.shape)}, but {wide} numbers are read of a view")
    if settings.how == "linear":
        tensors = {name if "." in name else f"0.{name}": value for name, value in tensors.items()}  # older: one head
    else:
        tensors |= {f"encoder.{name}": value for name, value in encoder.state_dict().items()}
    try:
        head.load_state_dict(tensors)
    except RuntimeError as error:
        why = " ".join(str(error).split())
        raise ValueError(f"{folder / HEAD}: it does not fit {SETTINGS} and the encoder: {why}") from error
    return VideoClassifier(encoder, head, settings, spread, machine)


def new_head(encoder: Encoder, settings: Settings) -> nn.Module:
    """Return a head with any weights, of the kind and shape that settings say."""
    if settings.how != "linear":
        network = NETWORKS[settings.how](encoder, len(settings.classes))
        if isinstance(network, Classifier):
            network.unit = settings.unit
        return network
    heads = nn.ModuleList()
    for shape in settings.shapes:
        (wide,) = widths(encoder, shape.views, [shape.grid])
        empty = shape.arranged(torch.zeros(1, shape.views.count, wide), encoder.num_features)
        heads.append(LinearHead(empty.shape[2], len(settings.classes)))
    return heads


def widths(encoder: Encoder, views: Views, grids: Sequence[Grid | None]) -> list[int]:
    """Return how many numbers are read of a view on each grid."""
    return [each[-1].stop for each in check_fits(encoder, views, [Reading(grid) for grid in grids])]
