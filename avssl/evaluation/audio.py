"""Linear probe of an audio encoder on labelled sounds, beside baselines."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from avssl.encoders import AudioEncoder, load_audio_encoder
from avssl.encoders.export import build, plan
from avssl.encoders.spectrogram import LogMel
from avssl.evaluation.given import place
from avssl.evaluation.probes import LinearProbe
from avssl.evaluation.readout import Bank, Floats, cross_validate
from avssl.evaluation.results import Summary
from avssl.evaluation.splits import Fold, Folds
from avssl.media.audio import mono
from avssl.media.errors import MediaError
from avssl.media.files import open_container
from avssl.media.resample import resample
from avssl.media.timeline import audio_stream

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
