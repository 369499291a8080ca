"""Errors between sound and picture of built clips, and cues that give an offset away without looking and listening.

    python benchmarks/avsync.py accuracy --faces ../shared/data/talking_faces/clips
    python benchmarks/avsync.py audit --faces ../shared/data/talking_faces/clips

``accuracy`` takes recordings through the builder. Lights and clicks of clapper recordings are compared with each other
and with the times at which they are due; faces have neither, so the sound of each clip is matched against the source's
by correlation and its frames against the source's frames. Then offsets are injected and estimated.

``audit`` asks classifiers that see one cue only (loudness over time, silence, the ends of the sound, spectrum, packet
sizes of the picture) to tell stretches of sound and picture that are in sync from shifted ones: once in the trials of
``fixed_offsets.csv``, once made the usual way: the sound of a clip is shifted, the gap filled with silence, and encoded
with AAC again. Five folds by clip; intervals by resampling clips.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from avssl.avsync.builder import build
from avssl.avsync.calibrating import calibrate
from avssl.avsync.clapper import clap_offsets, click_times
from avssl.avsync.clips import Span
from avssl.avsync.decide import ONSET_CONFIDENCE
from avssl.avsync.executors import Execution
from avssl.avsync.observe import LOUDNESS_RATE, Observed
from avssl.avsync.options import Accept, Cut, Normal, Options, Split, Sync
from avssl.avsync.score import OnsetScorer, ScorerInput
from avssl.avsync.splits import trials_of
from avssl.media import VideoInfo, open_video, probe
from avssl.synthetic.clapper import clap_frames, write_clapper

RATE = 16000
OPEN = Accept(length_tolerance=6.0)
CUT = Cut(seconds=1.0)
MATRIX = [
    (container, codec, rate, fps)
    for container, codec, rate in (
        *(("mp4", "aac", rate) for rate in (16000, 44100, 48000)),
        *(("mov", codec, 48000) for codec in ("aac", "pcm_s16le")),
        *(("mkv", codec, 48000) for codec in ("aac", "flac", "libopus", "pcm_s16le")),
    )
    for fps in (Fraction(24000, 1001), Fraction(25), Fraction(30000, 1001), Fraction(60))
]
SPLIT = Split(crop=0.6, step=0.2, max_offset=0.4)


def shown(title: str, errors: np.ndarray, unit: str = "ms") -> None:
    """Print a distribution of absolute errors in seconds."""
    low = np.quantile(np.abs(errors), (0.5, 0.95, 1.0)) * 1000
    print(f"| {title} | {len(errors)} | {low[0]:.2f} | {low[1]:.2f} | {low[2]:.2f} |")


def built(sources: list[Path], out: Path, options: Options) -> list[dict]:
    """Build and return the rows of ``clips.parquet``."""
    with ThreadPoolExecutor(2) as executor:
        print(build(sources, out, options, Execution(executor=executor)), file=sys.stderr)
    return pq.read_table(out / "clips.parquet").to_pylist()


def apart(source: Path, clip: Path, start: float) -> tuple[float, int]:
    """Return the delays of a clip against its source: of the sound in seconds, of the picture in frames."""
    with open_video(source, "pyav") as before, open_video(clip, "pyav") as after:
        count = after.info.num_frames
        margin = 0.05
        wide = before.audio(start - margin, start + count / 25 + margin, RATE).samples.numpy()
        own = after.audio(0.0, count / 25, RATE).samples.numpy()
        fit = np.correlate(wide, own, "valid")
        energy = np.sqrt(np.convolve(wide**2, np.ones(len(own)), "valid"))
        late = margin - int((fit / np.maximum(energy, 1e-9)).argmax()) / RATE
        size = (32, 32)
        grid = torch.arange(int(before.info.duration * 25), dtype=torch.float64) / 25 + 0.019  # the nearest frame's
        theirs = before.frames(grid.clamp(max=before.info.duration - 1e-6), size).float()
        mine = after.frames(torch.arange(count, dtype=torch.float64) / 25, size).float()
    first = round(start * 25)
    lags = range(-min(3, first), min(3, len(theirs) - first - count) + 1)
    errors = [float((theirs[first + lag : first + lag + count] - mine).abs().mean()) for lag in lags]
    return late, -lags[int(np.argmin(errors))]


def accuracy(faces: Path, files: int) -> None:
    """Print errors in the places of sound and picture, and in the estimates of injected offsets."""
    print("| A/V error, ms | measured | median | 95 % | largest |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        due = {}  # seconds at which clicks are due, by file
        for number, (container, codec, rate, fps) in enumerate(MATRIX):
            path = folder / "matrix" / f"{number}.{container}"
            write_clapper(path, fps=fps, frames=round(5 * fps), rate=rate, codec=codec, seed=number)
            due[path.name] = np.array(clap_frames(round(5 * fps), fps)) / float(fps)
        errors = []
        for row in built([folder / "matrix"], folder / "m", Options(cut=Cut(seconds=1.2), accept=OPEN)):
            if row["clip"] is not None:
                clicks = click_times(folder / "m" / row["clip"]) + row["start"]
                errors += [np.abs(click - due[Path(row["source"]).name]).min() for click in clicks]
        shown(f"clapper, {len(MATRIX)} containers, codecs and rates: click", np.array(errors))

        truth = np.round(np.linspace(-0.4, 0.4, 21), 3)
        for seed, late in enumerate(truth):
            write_clapper(folder / "claps" / f"{late}.mov", late, 150, codec="pcm_s16le", seed=seed)
        cut = Cut(seconds=3.0, min_seconds=2.0)
        for seed in range(30, 55):
            write_clapper(folder / "known" / f"{seed}.mov", 0.0, 150, codec="pcm_s16le", seed=seed)
        measured = calibrate([folder / "known"], folder / "calibration", Options(cut=cut))
        options = Options(cut=cut, sync=Sync(mode="realign", calibration=measured.path))
        rows = built([folder / "claps"], folder / "c", options)
        rows = [row for row in rows if row["offset"] is not None]
        known = np.array([float(Path(row["source"]).stem) for row in rows])
        shown("offset of -400 to 400 ms injected: estimate", np.array([row["offset"] for row in rows]) - known)
        left = [clap_offsets(folder / "c" / row["clip"]) for row in rows if row["clip"] and row["shift"]]
        shown("the same, realigned: light against click", np.concatenate(left))

        paths = sorted(faces.glob("*.mp4"))
        paths = paths[:: max(1, len(paths) // files)]
        rows = [row for row in built(paths, folder / "f", Options(cut=CUT)) if row["clip"]]
        by_name = {path.name: path for path in paths}
        found = [apart(by_name[row["source"]], folder / "f" / row["clip"], row["start"]) for row in rows]
        sound, picture = (np.array(values, float) for values in zip(*found, strict=True))
        shown("talking faces: sound against the source", sound)
        shown("talking faces: picture against the source", picture / 25)
        shown("talking faces: sound against picture", sound - picture / 25)
        estimates(folder / "f" / ".work")


def estimates(work: Path) -> None:
    """Print errors of the onset scorer on speech, with offsets injected by shifting the loudness."""
    scorer, errors, confidences = OnsetScorer(0.6), [], []
    for number, path in enumerate(sorted((work / "observed").rglob("*.npz"))):
        observed = Observed.load(path)
        info = VideoInfo(path, len(observed.motion) / 25, 25.0, (256, 256))  # not used by the onset scorer
        late = ((number * 7) % 21 - 10) * 0.04
        shift = round(late * LOUDNESS_RATE)
        loudness = np.roll(observed.loudness, shift)
        loudness[: max(shift, 0)] = loudness[len(loudness) + min(shift, 0) :] = 0
        moved = replace(observed, loudness=loudness)
        score = scorer(ScorerInput(info, Span(0, len(observed.motion)), Fraction(25), moved))
        errors.append(score.offset - late)
        confidences.append(score.confidence)
    shown("talking faces, offset injected: estimate by onsets", np.array(errors))
    within = float((np.abs(errors) <= 0.1).mean())
    sure = float((np.array(confidences) >= ONSET_CONFIDENCE).mean())
    print(f"\nwithin 100 ms on faces: {within:.3f}, chance 0.167; share trusted: {sure:.3f}")


def loudness(sound: np.ndarray) -> np.ndarray:
    """Return the decibels of twelve equal parts."""
    return np.array([10 * np.log10(np.mean(part**2) + 1e-10) for part in np.array_split(sound, 12)])


def silence(sound: np.ndarray) -> np.ndarray:
    """Return the shares of samples that are zero or quiet, and the lengths of silence at both ends."""
    quiet = np.abs(sound) < 10 ** (-50 / 20)
    loud = np.flatnonzero(~quiet)
    ends = (loud[0], len(sound) - 1 - loud[-1]) if len(loud) else (len(sound), len(sound))
    return np.array([np.mean(sound == 0), quiet.mean(), *ends], float)


def ends(sound: np.ndarray) -> np.ndarray:
    """Return the decibels of the first and last 5 and 20 ms."""
    parts = [sound[:80], sound[:320], sound[-320:], sound[-80:]]
    return np.array([10 * np.log10(np.mean(part**2) + 1e-10) for part in parts])


def spectrum(sound: np.ndarray) -> np.ndarray:
    """Return the decibels in forty bands, averaged over time, which show what an encoder removed."""
    frames = np.lib.stride_tricks.sliding_window_view(sound, 512)[::256] * np.hanning(512)
    power = np.log10(np.abs(np.fft.rfft(frames)) ** 2 + 1e-9)
    return np.array([band.mean() for band in np.array_split(power.mean(0), 40)])


CUES = {"loudness": loudness, "silence": silence, "clip ends": ends, "spectrum": spectrum}


def packets(path: Path, start: float, stop: float) -> np.ndarray:
    """Return the sizes of the video packets in a stretch, and which of them are keyframes."""
    with av.open(str(path)) as container:
        sizes = [(p.size, p.is_keyframe) for p in container.demux(video=0) if p.pts is not None]
    first, last = round(start * 25), round(stop * 25)
    return np.array(sizes, float)[first:last].ravel()


def aac(sound: np.ndarray) -> np.ndarray:
    """Return a sound encoded with AAC and decoded, in place."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as out:
        stream = out.add_stream("aac", rate=RATE, layout="mono", options={"b": "48000"})
        for place in range(0, len(sound), 1024):
            part = np.ascontiguousarray(sound[None, place : place + 1024].astype(np.float32))
            frame = av.AudioFrame.from_ndarray(part, "fltp", "mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, place, Fraction(1, RATE)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    file.seek(0)
    result = np.zeros(len(sound) + 4096, np.float32)
    with av.open(file) as source:
        for frame in source.decode(audio=0):
            if frame.pts >= 0:
                values = frame.to_ndarray()[0]
                result[frame.pts : frame.pts + len(values)] = values[: max(0, len(result) - frame.pts)]
    return result[: len(sound)]


def audit(faces: Path, files: int) -> None:
    """Print how well each cue alone tells in sync from shifted."""
    paths = sorted(faces.glob("*.mp4"))
    paths = paths[:: max(1, len(paths) // files)]
    with tempfile.TemporaryDirectory() as name:
        out = Path(name)
        rows = [row for row in built(paths, out, Options(normal=Normal(), cut=CUT, split=SPLIT)) if row["clip"]]
        ours: dict[str, list[np.ndarray]] = {cue: [] for cue in [*CUES, "packet sizes"]}
        naive: dict[str, list[np.ndarray]] = {cue: [] for cue in CUES}
        labels, groups = [], []
        rng = np.random.default_rng(0)
        for group, row in enumerate(rows):
            path = out / row["clip"]
            info: VideoInfo = probe(path)
            with open_video(path, "pyav", info) as reader:
                sound = reader.audio(0.0, info.duration, RATE).samples.numpy()
            length = round(SPLIT.crop * RATE)
            for trial in trials_of(row["clip"], info.num_frames, Fraction(25), SPLIT):
                place = round((trial.start - trial.offset) * RATE)
                for cue, feature in CUES.items():
                    ours[cue].append(feature(sound[place : place + length]))
                ours["packet sizes"].append(packets(path, trial.start, trial.start + SPLIT.crop))
                labels.append(trial.offset != 0)
                groups.append(group)
            late = round(rng.choice([-0.4, -0.2, 0.2, 0.4]) * RATE)
            moved = np.roll(sound, late)
            moved[: max(late, 0)] = moved[len(moved) + min(late, 0) :] = 0
            for whole in (sound, aac(moved)):  # as in the trials: first in sync, then not
                place = int(rng.integers(0, len(sound) - length + 1))
                for cue, feature in CUES.items():
                    naive[cue].append(feature(whole[place : place + length]))
    y, clips = np.array(labels), np.array(groups)
    print(f"{len(y)} trials of {len(rows)} clips, half of them in sync; AUC (95 % interval), chance 0.5\n")
    print("| cue alone | trials of the builder, linear | boosted trees | shifted, filled, AAC again: linear | trees |")
    print("|---|---|---|---|---|")
    ours["all of the sound"] = [np.concatenate(parts) for parts in zip(*(ours[cue] for cue in CUES), strict=True)]
    naive["all of the sound"] = [np.concatenate(parts) for parts in zip(*(naive[cue] for cue in CUES), strict=True)]
    for cue, features in ours.items():
        cells = [auc(np.stack(features), y, clips, kind) for kind in ("linear", "trees")]
        cells += [auc(np.stack(naive[cue]), y, clips, kind) if cue in naive else "" for kind in ("linear", "trees")]
        print(f"| {cue} | {' | '.join(cells)} |", flush=True)


def auc(features: np.ndarray, y: np.ndarray, clips: np.ndarray, kind: str) -> str:
    """Return the cross-validated area under the curve, with its interval."""
    trees = HistGradientBoostingClassifier(max_iter=60, random_state=0)
    model = trees if kind == "trees" else make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
    guess = cross_val_predict(model, features, y, groups=clips, cv=GroupKFold(5), method="predict_proba")[:, 1]
    rng = np.random.default_rng(0)
    members = [np.flatnonzero(clips == clip) for clip in np.unique(clips)]
    spread = []
    for _ in range(300):
        chosen = np.concatenate([members[place] for place in rng.integers(0, len(members), len(members))])
        spread.append(roc_auc_score(y[chosen], guess[chosen]))
    low, high = np.quantile(spread, (0.025, 0.975))
    return f"{roc_auc_score(y, guess):.3f} ({low:.2f} to {high:.2f})"


def main() -> None:
    """Run one of the two measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("accuracy", "audit"))
    parser.add_argument("--faces", type=Path, required=True, help="folder of short clips with sound")
    parser.add_argument("--files", type=int, default=400, help="number of clips to use")
    args = parser.parse_args()
    torch.set_num_threads(1)
    (accuracy if args.what == "accuracy" else audit)(args.faces, args.files)


if __name__ == "__main__":
    main()
