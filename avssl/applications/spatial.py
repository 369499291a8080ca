"""Spatial sound for a panorama, from its mono sound and a run of `SpatialAudio`; and how far it is from the truth."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import av
import numpy as np
import torch
from scipy.optimize import linprog
from scipy.sparse import coo_array
from torch import Tensor

from avssl.data import ambisonics
from avssl.media import VideoInfo, VideoReader, open_video, probe
from avssl.methods import SpatialAudio
from avssl.methods.audiovisual.spatial_audio import LEAST, Spatial, heat, levelled
from avssl.pixels import normalise
from avssl.runtime.files import growing, room_in, write_text
from avssl.training.config import parse
from avssl.training.module import statistics
from avssl.training.sheet import load_method

POINTS = 60  # directions between which energy is moved
SHOWN = 6  # moments that the picture shows


@dataclass(frozen=True)
class SpatialErrors:
    """How far predicted channels are from a recording's own; see `measure`.

    Attributes:
        stft: squared error of the spectra of Y, Z and X, relative to silence.
        envelope: squared error of their envelopes, relative to silence.
        angle: mean degrees between intensity vectors where there is sound; chance is 90.
        emd: mean degrees by which energy has to be moved over the sphere (earth mover's distance).
    """

    stft: float
    envelope: float
    angle: float
    emd: float


@dataclass(frozen=True)
class SpatialResult:
    """What `spatialise` found and wrote.

    Attributes:
        video: the recording.
        run: the run whose network was used.
        sound: the file of four channels.
        picture: the picture of where the sound is.
        errors: against the recording's own channels; None if it has fewer than four.
        ahead: the errors if all sound came from ahead.
    """

    video: str
    run: str
    sound: str
    picture: str
    errors: SpatialErrors | None
    ahead: SpatialErrors | None


def spatialise(video: Path, run: Path, folder: Path) -> SpatialResult:
    """Predict the channels Y, Z and X of a recording and write four channels, a picture and ``spatial.json``.

    The sound of the recording is its first channel if it has four or more (W of first-order ambisonics), else the mean
    of its channels. It is cut into clips as in training, which overlap by half and are faded into each other.

    Raises:
        MediaError: if the recording has no sound or can't be read.
        ValueError: if the run is of another method, or the recording is shorter than a clip.
    """
    method, size = load(run)
    info = probe(video)
    span = method.sampler.span
    if info.duration < span:
        raise ValueError(f"{video}: it lasts {info.duration:.2f} s, the network sees clips of {span:.2f} s")
    total = int(info.duration * method.rate)
    sound, weight = torch.zeros(4, total), torch.zeros(total)
    own = torch.zeros(4, total)
    shown: list[tuple[float, Tensor, Tensor]] = []  # start, RGB and the predicted spectrum of each clip
    with open_video(video, info=info) as reader:
        for start, frames, heard in clips_of(reader, info, method, size):
            found = predicted(method, frames, heard)
            part = waveforms(found, heard, method.rate)
            first, length = round(start * method.rate), part.shape[-1]
            length = min(length, total - first)
            fade = torch.hann_window(part.shape[-1])[:length] + 1e-3
            sound[:, first : first + length] += fade * part[:, :length]
            own[:, first : first + length] = heard[:, :length]
            weight[first : first + length] += fade
            shown.append((start, frames[0], torch.cat([found.heard[:, :1], found.channels], 1)))
    sound = torch.cat([own[:1], sound[1:] / weight.clamp(min=1e-3)])
    folder.mkdir(parents=True, exist_ok=True)
    written, picture = folder / f"{video.stem}.foa.wav", folder / f"{video.stem}.png"
    write_wav(sound, method.rate, written)
    spatial = info.audio is not None and info.audio.channels >= 4
    errors = measure(sound, own, method.rate) if spatial else None
    ahead = measure(own[:1] * torch.tensor([1.0, 0, 0, 1])[:, None], own, method.rate) if spatial else None
    draw(shown, span, picture)
    result = SpatialResult(str(video), str(run), str(written), str(picture), errors, ahead)
    write_text(folder / "spatial.json", json.dumps(asdict(result), indent=1) + "\n")
    return result


def load(run: Path) -> tuple[SpatialAudio, int]:
    """Return the method of a run with its last weights, in eval mode, and the height of its panoramas.

    Raises:
        ValueError: if the run is of another method.
    """
    made, config = parse([str(run / "config.yaml")])
    config.logger = None
    built = made.instantiate(config)
    if not isinstance(built.method, SpatialAudio):
        raise ValueError(f"{run}: a run of {type(built.method).__name__}; give one of SpatialAudio")
    load_method(built.method, run)
    return built.method.eval(), built.data.transform.size


def clips_of(
    reader: VideoReader, info: VideoInfo, method: SpatialAudio, size: int
) -> Iterator[tuple[float, Tensor, Tensor]]:
    """Yield clips that overlap by half: seconds, ``[1, t, 3, H, W]`` uint8, and W with the rest ``[4, S]``."""
    span, frames = method.sampler.span, method.sampler.num_frames
    last = info.duration - span
    starts = [number * span / 2 for number in range(int(last / (span / 2) + 1e-6) + 1)]
    for start in [*starts, last] if last > starts[-1] + 1e-3 else starts:  # up to the end
        times = start + torch.arange(frames, dtype=torch.float64) * method.sampler.step
        spatial = info.audio is not None and info.audio.channels >= 4
        heard = reader.audio(start, start + span, method.rate, 4 if spatial else 1).samples
        if not spatial:
            heard = torch.cat([heard[None], torch.zeros(3, len(heard))])
        yield start, reader.frames(times, (size, 2 * size))[None], heard


@torch.no_grad()
def predicted(method: SpatialAudio, frames: Tensor, heard: Tensor) -> Spatial:
    """Predict a clip ``[1, t, 3, H, W]`` uint8 from the first of its channels ``[4, S]``."""
    mean, std = map(torch.tensor, statistics(method.encoder))
    return method.predict(normalise(frames, mean, std), levelled(heard[None]))


def waveforms(found: Spatial, heard: Tensor, rate: int) -> Tensor:
    """Return W, as heard ``[4, S]``, and the predicted Y, Z and X, at its level: ``[4, S]``."""
    level = heard[0].square().mean().sqrt().clamp(min=LEAST) / 0.1  # what `levelled` divided by
    return torch.cat([heard[:1], level * ambisonics.samples(found.channels[0], heard.shape[1], rate)])


def measure(sound: Tensor, true: Tensor, rate: int, window: float = 1.0) -> SpatialErrors:
    """Compare channels ``[4, S]`` with true ones, of the same W; directions of energy in windows of some seconds."""
    mine, right = ambisonics.spectra(sound, rate), ambisonics.spectra(true, rate)
    loud = ambisonics.loud(right)
    away = ambisonics.angles(ambisonics.intensity(mine), ambisonics.intensity(right))
    size = round(window * rate)
    distances = [
        earth_mover(mine_part, right_part)
        for mine_part, right_part in zip(_energies(sound, rate, size), _energies(true, rate, size), strict=True)
    ]
    return SpatialErrors(
        float(ambisonics.stft_error(mine[1:], right[1:])),
        float(ambisonics.envelope_error(sound[1:], true[1:])),
        float(away[loud].mean()),
        float(np.mean(distances)),
    )


def _energies(sound: Tensor, rate: int, size: int) -> list[np.ndarray]:
    ways = ambisonics.spread(POINTS)
    return [
        ambisonics.energies(ambisonics.spectra(part, rate), ways).double().numpy()
        for part in sound.split(size, 1)
        if part.shape[1] == size
    ]


def earth_mover(first: np.ndarray, second: np.ndarray) -> float:
    """Return the least mean degrees by which energy ``[POINTS]`` is moved to become another, both summing to 1."""
    ways = ambisonics.spread(len(first)).double().numpy()
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    chords = np.linalg.norm(ways[:, None] - ways[None], axis=2)  # exact where directions are the same
    cost = np.degrees(2 * np.arcsin((chords / 2).clip(0, 1))).ravel()
    count = len(first)
    rows, columns = np.divmod(np.arange(count * count), count)
    places = np.concatenate([rows, count + columns])
    sums = coo_array((np.ones(2 * count * count), (places, np.tile(np.arange(count * count), 2))))
    total = np.concatenate([first / first.sum(), second / second.sum()])
    found = linprog(cost, A_eq=sums.tocsr()[:-1], b_eq=total[:-1], method="highs")  # the last row follows from the rest
    if found.fun is None:
        raise ValueError(f"earth_mover: no solution ({found.message})")
    return float(found.fun)


def write_wav(sound: Tensor, rate: int, path: Path) -> None:
    """Write channels ``[C, S]`` in [-1, 1] as 24-bit PCM, scaled down if they are louder."""
    values = (sound / sound.abs().max().clamp(min=1.0)).numpy()
    packed = np.ascontiguousarray((values.T * (2**31 - 1)).astype(np.int32).reshape(1, -1))
    with growing(path) as partial, av.open(str(partial), "w", format="wav") as container:
        stream = container.add_stream("pcm_s24le", rate=rate, layout="quad")
        frame = av.AudioFrame.from_ndarray(packed, "s32", "quad")
        frame.sample_rate, frame.pts = rate, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def draw(shown: list[tuple[float, Tensor, Tensor]], span: float, path: Path) -> None:
    """Draw some clips' middle frames, red where the sound comes from."""
    from matplotlib.figure import Figure

    chosen = torch.linspace(0, len(shown) - 1, min(SHOWN, len(shown))).round().long().tolist()
    figure = Figure(figsize=(8, 4.2 * len(chosen)), layout="constrained")
    for place, number in enumerate(chosen):
        start, frames, spectrum = shown[number]
        axes = figure.add_subplot(len(chosen), 1, place + 1)
        coloured = heat(frames[None].float() / 255, spectrum)[0, len(frames) // 2]
        axes.imshow(coloured.permute(1, 2, 0).clamp(0, 1).numpy(), extent=(180, -180, -90, 90))
        axes.set_title(f"{start:.1f} to {start + span:.1f} s", fontsize=9)
        axes.set_xlabel("degrees to the left", fontsize=8)
        axes.set_ylabel("up", fontsize=8)
        axes.tick_params(labelsize=7)
    with room_in(path.parent):
        figure.savefig(path, dpi=80)
