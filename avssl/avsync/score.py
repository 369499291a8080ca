"""Offset of a clip's sound, and the confidence in it."""

from __future__ import annotations

import functools
import math
import tempfile
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from avssl.avsync.clips import Span, cut_clip
from avssl.avsync.observe import LOUDNESS_RATE, Observed
from avssl.avsync.options import Crops, Sync
from avssl.avsync.store import key_of
from avssl.avsync.tracks import Track
from avssl.media import VideoInfo, open_video
from avssl.media.regions import WHOLE, Part, Shown, shown_of

if TYPE_CHECKING:
    from avssl.avsync.framing import Framing
    from avssl.sync.network import Synchroniser
    from avssl.sync.offset import Offset

FLOOR = 1e-3  # of full scale: loudness below it is silence
BLUR = 0.02  # seconds, half the width of the triangle that blurs the onsets of sound
START = 0.1  # seconds at the beginning of a recording in which rising sound is not an event but the start itself
ASKED = 2  # raise it when `avssl.sync.offset` estimates otherwise: confidences, and calibrations, then mean others
BEFORE = 0.03  # seconds over which sound must have risen to count as an onset


class Score(NamedTuple):
    """An estimate of a clip's offset."""

    offset: float  # seconds; positive if the sound is late relative to the picture
    confidence: float  # larger is surer; comparable only among estimates of one scorer
    edge: bool = False  # it lies at an end of what was searched: the true offset may lie beyond


class ScorerInput(NamedTuple):
    """A clip and the recording it is in."""

    info: VideoInfo  # the normalised recording's
    span: Span  # the clip
    fps: Fraction
    observed: Observed  # the whole recording's
    shown: Shown = WHOLE  # the part of its source's pictures that the recording shows
    late: float = 0.0  # seconds by which its sound is to be heard later than it is, to try the scorer
    track: Track | None = None  # the face to be scored; None for the picture


class Scorer(Protocol):
    """Estimates the offset of a clip. Picklable, as it runs in other processes."""

    def name(self) -> str:
        """Return a name that no scorer with other estimates has; estimates are stored under it."""

    def __call__(self, clip: ScorerInput) -> Score:
        """Estimate the offset of a clip."""


class OnsetScorer(NamedTuple):
    """Correlation of the onsets of sound with the onsets of motion; needs no training.

    Correct where things are heard as they begin to move (a clap, a flash and a click); little better than chance on
    speech. The confidence is the largest correlation minus the median over all offsets (SyncNet's is the median
    distance minus the smallest), times the square root of the number of frames, so that chance is on one scale.
    """

    max_offset: float  # seconds, either way

    def name(self) -> str:
        """Depend on the largest offset."""
        return key_of("onsets", self.max_offset)

    def __call__(self, clip: ScorerInput) -> Score:
        """Return the offset of the best correlation."""
        start, stop = clip.span
        motion = clip.observed.motion[start:stop].astype(np.float64)  # [T]
        if start == 0:
            motion[0] = motion[1:2].mean() if len(motion) > 1 else 0.0
        seen = np.maximum(np.diff(motion, prepend=motion[:1]), 0)  # [T] onsets, each dated at its frame
        heard = sound_onsets(clip.observed.loudness)  # [L]
        places = np.round((np.arange(start, stop) / float(clip.fps) - clip.late) * LOUDNESS_RATE).astype(np.int64)
        reach = round(self.max_offset * LOUDNESS_RATE)
        shifts = np.arange(-reach, reach + 1)  # [O] in 200ths of a second
        wanted = places + shifts[:, None]  # [O, T]
        inside = (wanted >= 0) & (wanted < len(heard))
        values = np.where(inside, heard[wanted.clip(0, max(len(heard) - 1, 0))], 0.0) if len(heard) else 0.0 * wanted
        seen = seen - seen.mean()
        values = values - values.mean(axis=1, keepdims=True)
        # By the largest norm: with each offset's own, onsets half covered would count as much as whole ones.
        scale = max(float(np.linalg.norm(seen) * np.linalg.norm(values, axis=1).max()), 1e-9)
        fit = values @ seen / scale  # [O] at most 1
        best = fit.max()
        place = int(np.flatnonzero(fit >= best - 1e-9)[np.abs(shifts[fit >= best - 1e-9]).argmin()])
        confidence = float(best - np.median(fit)) * math.sqrt(len(motion))
        return Score(float(shifts[place]) / LOUDNESS_RATE, confidence, bool(abs(shifts[place]) == reach))


def sound_onsets(loudness: np.ndarray) -> np.ndarray:
    """Return ``[L]`` rises of the square root of loudness above its maximum over the last 30 ms, blurred by 20 ms.

    Args:
        loudness: ``[L]`` largest absolute samples, 200 per second.
    """
    level = np.sqrt(np.maximum(loudness, FLOOR))  # decibels would amplify what a codec smears ahead of a sound
    wide = round(BEFORE * LOUDNESS_RATE)
    padded = np.concatenate([np.repeat(level[:1], wide), level])
    recent = np.lib.stride_tricks.sliding_window_view(padded, wide)[: len(level)].max(axis=1) if len(level) else level
    rise = np.maximum(level - recent, 0)
    begin = int(np.flatnonzero(loudness > 0)[0]) if (loudness > 0).any() else 0
    rise[: begin + round(START * LOUDNESS_RATE)] = 0
    half = round(BLUR * LOUDNESS_RATE)
    kernel = 1 - np.abs(np.arange(-half, half + 1)) / (half + 1)
    return np.convolve(rise, kernel)[half : half + len(rise)] if len(rise) else rise


class RunScorer(NamedTuple):
    """Estimate of a trained run, through ``avssl.sync.offset.find_offset``."""

    run: Path
    max_offset: float  # seconds, either way
    weights: str  # their hash
    framing: Framing | None = None  # what of each tracked face it is shown; None for the picture

    def name(self) -> str:
        """Depend on the weights, the largest offset, what the network is shown and how it is asked."""
        shown = () if self.framing is None else tuple(self.framing)
        return key_of("run", ASKED, self.weights, self.max_offset, *shown)

    def __call__(self, clip: ScorerInput) -> Score:
        """Return the network's estimate, with confidence 0 if the clip is too short for the network.

        Raises:
            ValueError: if the pictures don't show all of what the network learnt from.
        """
        found = self.find(clip)
        return Score(0.0, 0.0) if found is None else Score(found.seconds, found.confidence, found.at_edge)

    def find(self, clip: ScorerInput) -> Offset | None:
        """Return the estimate with its curve; None if the clip is too short for the network.

        Raises:
            ValueError: as above.
        """
        from avssl.sync import offset  # imports networks, which nothing else here needs

        network = _network(self.run)
        region = offset.region_for(network, clip.shown) if self.framing is None else WHOLE
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "clip.mp4"
            cut_clip(clip.info, clip.span, -clip.late, clip.fps, path)
            try:
                if self.framing is None:
                    return offset.find_offset(path, network, reach=self.max_offset, region=region)
                from avssl.avsync.cropping import TrackReader  # imports OpenCV

                assert clip.track is not None
                with open_video(path, "pyav") as reader:
                    track = replace(clip.track.part(*clip.span), start=0)  # the clip begins there
                    shown = TrackReader(reader, track, self.framing)
                    return offset.find_offset(shown, network, reach=self.max_offset, region=region)
            except ValueError:
                return None


@functools.cache
def _network(run: Path) -> Synchroniser:
    """Load the network of a run, once per process."""
    from avssl.sync.offset import load_synchroniser

    return load_synchroniser(run)


def framing_shown(scorer: Scorer) -> Framing | None:
    """Return what of each tracked face a scorer is shown; None if it is shown pictures."""
    return scorer.framing if isinstance(scorer, RunScorer) else None


def check_shown(scorer: Scorer, shown: Shown) -> None:
    """Raise a ValueError if a run is to be shown pictures that don't show what it learnt from.

    Args:
        scorer: the run's, or another.
        shown: the part of their sources' pictures that the recordings show.
    """
    if isinstance(scorer, RunScorer) and scorer.framing is None:
        from avssl.sync.offset import region_for

        try:
            region_for(_network(scorer.run), shown)
        except ValueError as error:
            remedy = "faces are found by --faces.model=PATH, and a run that learnt from them is then shown each"
            raise ValueError(f"{scorer.run} can't be asked: {error}; {remedy}") from error


def make_scorer(options: Sync, crops: Crops | None = None, tracked: bool = False) -> Scorer:
    """Return the scorer that the options ask for.

    Args:
        options: of the estimation.
        crops: what of tracked faces a run is shown that doesn't say what it learnt from.
        tracked: whether faces are tracked; a run that learnt from faces is then shown these.

    Raises:
        FileNotFoundError: if the run has no network that compares pictures with sound.
    """
    if options.run is None:
        return OnsetScorer(options.max_offset)
    from avssl.encoders.export import weights_hash

    run = options.run.resolve()
    network = _network(run)
    card = network.card.get("region")
    learnt = None if card is None else shown_of(card)
    seen = options.seen or ("track" if isinstance(learnt, Part) and tracked else "picture")
    if seen == "picture":
        return RunScorer(run, options.max_offset, weights_hash(network))
    from avssl.avsync.framing import framing_of  # imports OpenCV

    framing = framing_of(crops or Crops())
    if isinstance(learnt, Part):
        framing = framing.showing(learnt)
    return RunScorer(run, options.max_offset, weights_hash(network), framing)
