"""Linear probe and SVM of an audio encoder on labelled sounds, beside baselines."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from avssl.encoders import AudioEncoder, load_audio_encoder
from avssl.encoders.export import build, plan
from avssl.encoders.spectrogram import LogMel
from avssl.evaluation.given import place
from avssl.evaluation.linear_svm import LinearSVM
from avssl.evaluation.precision import chance_precision
from avssl.evaluation.probes import LinearProbe
from avssl.evaluation.readout import Bank, Floats, cross_validate, cross_validate_several
from avssl.evaluation.record import write_results
from avssl.evaluation.results import Outcome, Results, Summary
from avssl.evaluation.settings import digest, plain
from avssl.evaluation.sounds import Sounds, SoundSplit, gather
from avssl.evaluation.splits import Fold, Folds
from avssl.media.audio import mono
from avssl.media.errors import MediaError
from avssl.media.files import open_container
from avssl.media.resample import resample
from avssl.media.timeline import audio_stream
from avssl.runtime.checks import check_ranges
from avssl.runtime.device import Machine
from avssl.runtime.progress import Tally

FRAME = 112  # pixels, on the card of a network without one; a network over sound sees none


@dataclass(frozen=True)
class AudioResults:
    """Result of `audio_probe` on sounds of K classes, for three kinds of features."""

    files: int
    classes: list[str]
    chance: float  # 1 / K
    pretrained: Summary  # the run's encoder
    random_init: Summary  # the same network at random initialisation
    log_mel: Summary  # mean and deviation over time of each band of the log-mel spectrogram, the network's input


def read_sound(path: Path, rate: int) -> Floats:
    """Read a whole sound file as ``[S]`` float32: mean over channels, at a sampling rate of ``rate``.

    Raises:
        MediaError: if the file can't be opened or has no audio.
    """
    with open_container(path) as container:
        stream = audio_stream(container)
        frames = [] if stream is None else list(container.decode(stream))
        if stream is None or not frames:
            raise MediaError(path, "no_audio", "there is no sound in this file", "Leave it out")
        return resample(mono(frames), stream.rate, rate)


def audio_probe(
    folder: str | Path,
    run: str | Path,
    group: str = r"_(?P<group>[a-z]+)_",
    seconds: float = 0.7,
    probe: LinearProbe = LinearProbe(strengths=(1e-2, 1e-1, 1.0)),  # noqa: B008
    encoder: AudioEncoder | None = None,
) -> AudioResults:
    """Evaluate a run's audio encoder by a linear probe; each group (speaker) is left out once.

    Args:
        folder: ``<class>/<file>``, any sound files.
        run: a run folder (``<run>/audio_encoder/`` is read) or an export folder.
        group: pattern of file names whose ``group`` must not be split.
        seconds: sounds are cut to this length about their middle, or padded with silence.
        probe: logistic regression.
        encoder: an encoder instead of the run's; it is exported to ``<run>/audio_encoder``.

    Raises:
        FileNotFoundError: if the run has no audio encoder, or the folder no sounds.
        ValueError: if a file's name has no group.
    """
    encoder = load_audio_encoder(run) if encoder is None else place(encoder, run, FRAME)
    files = sorted(path for path in Path(folder).glob("*/*") if path.is_file())
    if not files:
        raise FileNotFoundError(f"{folder}: no <class>/<file> there")
    classes = sorted({path.parent.name for path in files})
    found = [re.search(group, path.name) for path in files]
    missing = [path for path, match in zip(files, found, strict=True) if match is None]
    if missing:
        raise ValueError(f"the pattern {group!r} finds no group in {missing[0]}, nor in {len(missing) - 1} others")
    names = [match["group"] for match in found if match is not None]
    sounds = torch.stack([_middle(read_sound(path, encoder.rate), round(seconds * encoder.rate)) for path in files])
    labels = np.array([classes.index(path.parent.name) for path in files])
    torch.manual_seed(0)
    fresh = build(plan(encoder), AudioEncoder).eval()
    features = {"pretrained": _vectors(encoder, sounds), "random_init": _vectors(fresh, sounds)}
    mel = LogMel(encoder.rate)(sounds)
    features["log_mel"] = torch.cat([mel.mean(2), mel.std(2)], 1).numpy()
    units = np.unique(names, return_inverse=True)[1]
    sides = [(np.flatnonzero(units != unit), np.flatnonzero(units == unit)) for unit in range(units.max() + 1)]
    listed = [Fold(str(unit), tuple(a.tolist()), tuple(b.tolist())) for unit, (a, b) in enumerate(sides)]
    folds = Folds(tuple(listed), tuple(names))
    banks = {name: Bank(values[:, None], labels, units, len(classes)) for name, values in features.items()}
    outcomes = {name: replace(cross_validate([probe], [bank], folds), chosen=None) for name, bank in banks.items()}
    return AudioResults(len(files), classes, 1 / len(classes), **outcomes)


def _middle(sound: Floats, samples: int) -> torch.Tensor:
    """Return the middle ``samples`` of a sound, with silence around a shorter one."""
    before = int((samples - len(sound)) / 2)  # negative where the sound is cut
    return torch.nn.functional.pad(torch.tensor(sound), (before, samples - len(sound) - before))


@torch.inference_mode()
def _vectors(encoder: AudioEncoder, sounds: torch.Tensor) -> Floats:
    return torch.cat([encoder(part) for part in sounds.split(64)]).numpy()


@dataclass(frozen=True)
class SoundProtocol:
    """Everything that must be equal for two numbers on sounds to be compared. A read-out that is None is left out.

    Args:
        name: name of the protocol; results go to ``<run>/eval/<name>/``.
        root: folder of the sounds, or of videos with sound, at any depth.
        split: lists with the classes and the folds.
        classes: number of classes that they must have; None for any.
        clips: windows per recording, spread over it.
        seconds: length of a window; shorter recordings have silence around them.
        linear: logistic regression on standardised features.
        svm: linear SVM on features of unit length; not with several classes per recording.
    """

    name: str
    root: Path
    split: SoundSplit
    classes: int | None = None
    clips: int = 1
    seconds: float = 2.0
    linear: LinearProbe | None = field(default_factory=LinearProbe)
    svm: LinearSVM | None = None

    def __post_init__(self) -> None:
        check_ranges("", self, clips="[1, inf)", seconds="(0, inf)")


class SoundWindows(Dataset[Tensor]):
    """The windows of every recording, float32 ``[clips, samples]``; an unreadable one is an error, never replaced."""

    def __init__(self, sounds: Sounds, rate: int, clips: int, seconds: float) -> None:
        self.sounds, self.rate, self.clips, self.samples = sounds, rate, clips, round(seconds * rate)

    def __len__(self) -> int:
        return len(self.sounds.places)

    def __getitem__(self, index: int) -> Tensor:
        name, start, stop = self.sounds.places[index]
        sound = read_sound(self.sounds.root / name, self.rate)
        if start is not None and stop is not None:
            sound = sound[round(start * self.rate) : round(stop * self.rate)]
        if self.clips == 1 or len(sound) <= self.samples:
            return _middle(sound, self.samples).repeat(self.clips, 1)
        starts = np.linspace(0, len(sound) - self.samples, self.clips).round().astype(int)
        return torch.tensor(np.stack([sound[first : first + self.samples] for first in starts]))


def evaluate_sounds(
    protocol: SoundProtocol,
    run: str | Path,
    machine: Machine = Machine(),  # noqa: B008
    encoder: AudioEncoder | None = None,
) -> Results:
    """Evaluate a run's audio encoder, write ``<run>/eval/<protocol>/results.json`` and return the results.

    Outcomes are those of the ``pretrained`` encoder, of the same network at ``random_init``, and of ``log_mel``: mean
    and deviation over time of each band of the log-mel spectrogram, the network's input.

    Args:
        protocol: sounds, folds, windows and read-outs.
        run: a run folder (``<run>/audio_encoder/`` is read) or an export folder.
        machine: device and workers; does not change what is measured.
        encoder: an encoder instead of the run's; it is exported to ``<run>/audio_encoder``.

    Raises:
        FileNotFoundError: if there is no encoder, no folder or no list.
        MediaError: if a recording can't be read.
        ValueError: if the lists don't fit the protocol or the folder.
    """
    begun = time.perf_counter()
    encoder = load_audio_encoder(run) if encoder is None else place(encoder, run, FRAME)
    sounds = gather(protocol.root, protocol.split)
    classes, labels = sounds.classes, sounds.numbers()
    if protocol.classes is not None and len(classes) != protocol.classes:
        raise ValueError(
            f"{protocol.name}: the lists show {len(classes)} classes, such as {classes[:3]}, but this protocol has "
            f"{protocol.classes}. Give the data set's own lists, or set classes=null to evaluate a part of it"
        )
    groups = np.unique(sounds.folds.groups, return_inverse=True)[1]
    outcomes: dict[str, Mapping[str, Outcome]] = {}
    for who, values in _features(encoder, sounds, protocol, machine).items():
        bank = Bank(values, labels, groups, len(classes))
        found: dict[str, Outcome] = {}
        if protocol.linear is not None:
            found["linear"] = (
                cross_validate([protocol.linear], [bank], sounds.folds)
                if sounds.one_each
                else cross_validate_several([protocol.linear], [bank], sounds.folds, classes)
            )
        if protocol.svm is not None and sounds.one_each:
            found["svm"] = cross_validate([protocol.svm], [bank], sounds.folds)
        outcomes[who] = found
    settings = {"linear": plain(protocol.linear), "svm": plain(protocol.svm)}
    facts, chance = _identity(protocol, sounds), _chance(sounds, labels)
    return write_results(run, encoder, facts, settings, chance, outcomes, machine, begun)


def _features(encoder: AudioEncoder, sounds: Sounds, protocol: SoundProtocol, machine: Machine) -> dict[str, Floats]:
    """Return features ``[V, clips, D]`` of the encoder, of the same network untrained, and of log-mel."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        fresh = build(plan(encoder), AudioEncoder).eval()
    networks = {"pretrained": encoder.to(machine.target), "random_init": fresh.to(machine.target)}
    mel, parts = LogMel(encoder.rate), [*networks, "log_mel"]
    found: dict[str, list[Floats]] = {name: [] for name in parts}
    windows = SoundWindows(sounds, encoder.rate, protocol.clips, protocol.seconds)
    with Tally("sounds", len(windows)) as tally, torch.inference_mode():
        for batch in machine.loader(windows, max(1, 64 // protocol.clips)):
            flat = batch.flatten(0, 1)  # [B clips, S]
            values = {name: network(flat.to(machine.target)).float().cpu() for name, network in networks.items()}
            bands = mel(flat)
            values["log_mel"] = torch.cat([bands.mean(2), bands.std(2)], 1)
            for name, value in values.items():
                found[name].append(value.unflatten(0, batch.shape[:2]).numpy())
            for _ in batch:
                tally.add("sounds")
    return {name: np.concatenate(values) for name, values in found.items()}


def _identity(protocol: SoundProtocol, sounds: Sounds) -> dict[str, Any]:
    """Return the identity of a protocol in a result, as `avssl.evaluation.protocol.identify` does for videos."""
    listed = [
        [fold.name, *([list(sounds.places[row]) for row in side] for side in (fold.train, fold.test))]
        for fold in sounds.folds.folds
    ]
    compared = {
        "name": protocol.name,
        "data": digest([[list(where), list(names)] for where, names in zip(sounds.places, sounds.labels, strict=True)]),
        "classes": sounds.classes,
        "folds": digest(listed),
        "views": {"clips": protocol.clips, "seconds": protocol.seconds},
    }
    sizes = [{"fold": fold.name, "train": len(fold.train), "test": len(fold.test)} for fold in sounds.folds.folds]
    more = {"videos": len(sounds.places), "missing": sounds.missing, "shared": sounds.shared, "sizes": sizes}
    split = {"class": type(protocol.split).__name__, **plain(vars(protocol.split))}
    return {**compared, "split": split, "hash": digest(compared), **more}


def _chance(sounds: Sounds, labels: np.ndarray[Any, np.dtype[np.signedinteger[Any]]]) -> dict[str, float]:
    tested = np.concatenate([labels[list(fold.test)] for fold in sounds.folds.folds])
    if not sounds.one_each:
        return {"mAP": chance_precision(tested)}
    share = np.sort(np.bincount(tested, minlength=len(sounds.classes)) / len(tested))[::-1]
    return {"top1": float(share[0]), "top5": float(share[:5].sum()), "mean_per_class": 1 / len(sounds.classes)}
