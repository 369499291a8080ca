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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import overload

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from avssl.encoders import Encoder, for_inference, load_encoder, save_encoder
from avssl.evaluation.calibration import temper, temper_each
from avssl.evaluation.classifier.head import LinearHead
from avssl.evaluation.classifier.settings import SETTINGS, Settings, read_settings
from avssl.evaluation.features import VIEWS_AT_ONCE, Normalise, encode, parts
from avssl.evaluation.finetune import AttentiveClassifier, Classifier
from avssl.evaluation.reading import Reading
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
        head: `LinearHead`; of the other kinds, the whole network around ``encoder``.
        settings: everything else.
        spread: ``[2, D']`` mean and standard deviation of what is read of a training video, averaged over its views.
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
        at_once = max(1, VIEWS_AT_ONCE // self.settings.views.count)
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

    def read(self, info: VideoInfo, spans: Sequence[tuple[float, float]]) -> Tensor:
        """Read the views of some windows of a video: uint8 ``[N, M, T, 3, S, S]``.

        Raises:
            MediaError: if the video can't be read.
        """
        views, last = self.settings.views, math.nextafter(info.duration, 0)
        times = [views.times(replace(info, duration=stop - start)) + start for start, stop in spans]
        return views.read(info, torch.cat(times).clamp(max=last)).unflatten(0, (len(spans), -1))

    def probabilities(self, pixels: Tensor) -> np.ndarray:
        """Return calibrated class probabilities ``[N, K]`` of views, uint8 ``[N, M, T, 3, S, S]``."""
        settings = self.settings
        if settings.how == "linear":
            samples = settings.shape.arranged(self.features(pixels), self.encoder.num_features)  # [N, M', D']
            with torch.inference_mode():
                logits = self.head(samples.to(self.head.weight.device)).cpu()  # type: ignore[arg-type]
        else:
            mean_std = Normalise.of(self.encoder, self.machine)
            network = self.head.to(self.machine.target)

            def run(part: Tensor) -> Tensor:
                with torch.inference_mode(), self.machine.autocast():
                    return network(mean_std(part)).float().cpu()

            logits = self.parts(run, pixels.flatten(0, 1)).unflatten(0, (len(pixels), -1))  # [N, M, K]
        shares = logits.double().sigmoid() if settings.several else logits.double().softmax(2)
        return (temper_each if settings.several else temper)(shares.mean(1).numpy(), settings.temperature)

    def features(self, pixels: Tensor) -> Tensor:
        """Return what is read of views, ``[N, M, D']`` float32 on the CPU."""
        if self._fast is None:
            self._fast = for_inference(self.encoder.to(self.machine.target), self.machine.half)
        fast, views, mean_std = self._fast, self.settings.views, Normalise.of(self.encoder, self.machine)
        reading = [Reading(self.settings.shape.grid)]
        found = encode(fast, pixels.flatten(0, 1), views, mean_std, self.machine, reading, self.parts).cpu()
        return found.unflatten(0, (len(pixels), -1))

    def likeness(self, pixels: Tensor) -> Tensor:
        """Return unit vectors ``[N, D']`` whose products tell whether windows look the same, of views as `read` gives.

        They are the mean features of a window, standardised by those of the training clips, so that what all clips have
        in common does not count.
        """
        return standardised(self.features(pixels).mean(1), self.spread)

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
    wide = parts(encoder, settings.views, settings.shape.grid)[-1].stop
    try:
        tensors = load_file(folder / HEAD)
    except SafetensorError as error:
        raise ValueError(f"{folder / HEAD}: not a readable safetensors file ({error}). Fit it again") from error
    head, spread = new_head(encoder, settings), tensors.pop(SPREAD, torch.zeros(0))
    if spread.shape != (2, wide):
        raise ValueError(f"{folder / HEAD}: {SPREAD!r} is {list(spread.shape)}, but {wide} numbers are read of a view")
    if settings.how != "linear":
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
    wide = parts(encoder, settings.views, settings.shape.grid)[-1].stop
    empty = settings.shape.arranged(torch.zeros(1, settings.views.count, wide), encoder.num_features)
    return LinearHead(empty.shape[2], len(settings.classes))
