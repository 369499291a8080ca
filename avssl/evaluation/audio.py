"""What an audio encoder is worth: a linear probe on labelled sounds, beside baselines."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from avssl.encoders import AudioEncoder, load_audio_encoder
from avssl.encoders.export import build, plan
from avssl.encoders.spectrogram import LogMel
from avssl.evaluation.metrics import Prediction, summarise
from avssl.evaluation.probes import Bank, LinearProbe
from avssl.evaluation.splits import Fold
from avssl.media.audio import audio_stream, mono
from avssl.media.files import open_container
from avssl.media.info import MediaError
from avssl.media.resample import resample

Floats = NDArray[np.float32]


def read_sound(path: Path, rate: int) -> Floats:
    """``[S]`` float32: a whole sound file, the mean over its channels, at ``rate`` samples a second.

    Raises:
        MediaError: where the file can't be opened or has no sound.
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
) -> dict[str, Any]:
    """Linear probe of a run's audio encoder: one group (speaker) is left out at a time.

    Beside it stand the same network at random initialisation, and the mean and deviation over time of each band of the
    log-mel spectrogram, which is what the network gets.

    Args:
        folder: ``<class>/<file>``, any sound files.
        run: a run folder (``<run>/audio_encoder/`` is read) or an export folder.
        group: pattern of a file's name whose ``group`` must not be split.
        seconds: sounds are cut to, or padded with silence to, this length about their middle.
        probe: logistic regression.

    Returns:
        JSON values: ``pretrained``, ``random_init`` and ``log_mel``, each as `summarise` gives them; ``chance``.

    Raises:
        FileNotFoundError: where the run has no audio encoder, or the folder no sounds.
        ValueError: where a file's name has no group.
    """
    encoder = load_audio_encoder(run)
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
    results: dict[str, Any] = {"files": len(files), "classes": classes, "chance": 1 / len(classes)}
    units = np.unique(names, return_inverse=True)[1]
    for name, values in features.items():
        bank = Bank(values[:, None], labels, units, len(classes))
        predictions = []
        for unit in range(units.max() + 1):
            train, test = np.flatnonzero(units != unit), np.flatnonzero(units == unit)
            fold = Fold(str(unit), tuple(train.tolist()), tuple(test.tolist()))
            predictions.append(Prediction(fold.name, "", test, labels[test], probe.scores(bank, fold)[0]))
        results[name] = summarise([predictions], names)
    return results


def _middle(sound: Floats, samples: int) -> torch.Tensor:
    """The middle ``samples`` of a sound, silence round it where it is shorter."""
    if len(sound) >= samples:
        begin = (len(sound) - samples) // 2
        return torch.from_numpy(sound[begin : begin + samples].copy())
    before = (samples - len(sound)) // 2
    return torch.nn.functional.pad(torch.from_numpy(sound.copy()), (before, samples - len(sound) - before))


@torch.inference_mode()
def _vectors(encoder: AudioEncoder, sounds: torch.Tensor) -> Floats:
    return torch.cat([encoder(part) for part in sounds.split(64)]).numpy()
