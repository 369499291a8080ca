"""Does a synchroniser travel to framings that it wasn't trained on? One corpus of talking people in three framings.

    python benchmarks/travel.py cut --faces ../shared/data/talking_faces/clips --model MODEL -o travel
    python benchmarks/travel.py train -o travel --kinds whole lips far    # one that isn't named is held out
    python benchmarks/travel.py measure -o travel
    python benchmarks/travel.py audit -o travel --runs travel/runs/whole_lips_far

``cut`` makes the kinds. ``whole``: the mouth of the face that is tracked in the recordings as they are. ``lips``: a
fixed part of the picture, squashed to a square, as a corpus of cropped lips is: no face is seen, and none is tracked.
``far``: the picture scaled to less than half, in a wide black one at 30 frames per second, encoded at a low rate, its
sound limited to 3.4 kHz, with noise 20 dB below it; the mouth is tracked in that. Recordings that look alike (one
broadcast) are a group; a quarter of the groups is never trained on, in no kind.

``train`` runs ``avssl train configs/syncnet_faces.yaml`` on the other recordings of some kinds.

``measure`` prints for each network and kind what `avssl synchrony` does, with intervals over groups, whether the kind
was trained on, and how unlike it looks and sounds (the share of recordings beyond the 95 % of those trained on).
``audit`` takes the pictures, or the sound, from a network: what it still tells isn't synchrony. ``fixed`` shows it the
same part of all pictures (``--faces``), much wider than in training. ``estimates`` compares two ways to read an offset
from a curve, with a recording's own sound and with another's.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame
from rich.console import Console
from rich.table import Table
from scipy.cluster.hierarchy import fcluster, linkage

from avssl.avsync.mouths import cut_part
from avssl.catalog.encode import CopyOptions, Movie, pieces, write_copy, write_movie
from avssl.catalog.index import build_index, open_manifest
from avssl.catalog.manifest import Manifest
from avssl.catalog.table import row_from_info
from avssl.cli import main as command
from avssl.evaluation.synchrony import Displaced, measure_synchrony
from avssl.media import VideoInfo, open_video, probe
from avssl.media.regions import Part, note_region
from avssl.runtime.files import write_text
from avssl.runtime.progress import Tally
from avssl.sync.calibration import WITHIN
from avssl.sync.familiar import Familiar, describe, two_streams
from avssl.sync.network import Synchroniser, TwoStream
from avssl.sync.offset import curve, load_synchroniser, offset_from, offset_grid, region_for, seen_of

KINDS = ("whole", "lips", "far")
PART = Part("mouth", 0.75)
LIPS = (0.3, 0.44, 0.7, 0.76)  # of `talking_faces`
WIDE = (0.25, 0.35, 0.75, 0.85)  # of which no network sees more than the middle half in training
ALIKE = 22.0  # grey levels between thumbnails of one group, on average
TESTED = 0.25  # of the groups
FAR = 112  # pixels of the scaled picture's height, of 144
FAR_TRAINED = 160  # recordings of `far` to train on


def groups_of(paths: list[Path]) -> list[int]:
    """Return the group of each recording: those whose pictures look alike, by average linkage."""
    thumbnails = []
    for path in paths:
        with open_video(path) as reader:
            picture = reader.frames(torch.tensor([reader.info.duration / 3], dtype=torch.float64), (16, 16))
        thumbnails.append(picture.flatten().numpy().astype(float) / picture.numel() ** 0.5)
    return fcluster(linkage(np.stack(thumbnails), "average"), ALIKE, "distance").tolist()


def write_far(info: VideoInfo, target: Path) -> None:
    """Write a recording as if from far away, see above; what is random depends on its name."""
    rng = np.random.default_rng(int(info.path.stem))
    left = int(rng.integers(0, 256 - FAR))
    count = int(info.duration * 30)
    with open_video(info.path, info=info) as reader:
        times = torch.arange(count, dtype=torch.float64) / 30 + 0.5 / info.fps - 1e-4  # the nearest frames
        small = reader.frames(times, (FAR, FAR)).movedim(1, 3).numpy()
        sound = reader.audio(0.0, info.duration, 16000).samples.numpy()
    spectrum = np.fft.rfft(sound)
    spectrum[np.fft.rfftfreq(len(sound), 1 / 16000) > 3400] = 0
    limited = np.fft.irfft(spectrum, len(sound))
    noisy = limited + 0.1 * limited.std() * rng.standard_normal(len(sound))

    def pictures() -> Iterator[VideoFrame]:
        for number, picture in enumerate(small):
            canvas = np.zeros((144, 256, 3), np.uint8)
            canvas[16 : 16 + FAR, left : left + FAR] = picture
            frame = VideoFrame.from_ndarray(canvas, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 30)
            yield frame

    heard: Iterator[AudioFrame] = pieces(torch.from_numpy(noisy).float(), 16000)
    write_movie(target, pictures(), heard, Movie(Fraction(30), (144, 256), 60, 16000), {"preset": "fast", "crf": "30"})


def cut(args: argparse.Namespace) -> None:
    """Make the kinds: ``OUT/KIND/{train,test}/GROUP/NAME.mp4``, each with a note of what it shows."""
    paths = sorted(args.faces.glob("*.mp4"))[: args.files]
    groups = groups_of(paths)
    names = np.random.default_rng(0).permutation(np.unique(groups))
    tested = set(names[: round(TESTED * len(names))].tolist())
    trained, lost = 0, 0
    for kind in KINDS:
        (args.out / kind).mkdir(parents=True, exist_ok=True)
        note_region(args.out / kind, PART)
    lips = CopyOptions(short_side=82, fps=25, region=LIPS)
    with Tally("cut", len(paths)) as tally:
        for path, group in zip(paths, groups, strict=True):
            info, side = probe(path), "test" if group in tested else "train"
            targets = {kind: args.out / kind / side / f"{group:04d}" / path.name for kind in KINDS}
            for target in targets.values():
                target.parent.mkdir(parents=True, exist_ok=True)
            if not targets["lips"].exists():
                write_copy(info, targets["lips"], lips)
            if not targets["whole"].exists() and cut_part(info, args.model, PART, targets["whole"]) is None:
                lost += 1
            trained += side == "train"
            if not targets["far"].exists() and (side == "test" or trained <= FAR_TRAINED):
                wide = args.out / "wide.mp4"
                write_far(info, wide)
                if cut_part(probe(wide), args.model, PART, targets["far"]) is None:
                    lost += 1
            tally.add("cut")
    (args.out / "wide.mp4").unlink(missing_ok=True)
    for kind in KINDS:
        for side in ("train", "test"):
            indexed(args.out, kind, side)
    print(f"{len(paths)} recordings, {len(names)} groups, {len(tested)} of them to test; no face found {lost} times")


def indexed(out: Path, kind: str, side: str) -> Path:
    """Return the manifest of a kind's recordings to train or test on; make it once."""
    index = out / f"{kind}_{side}.parquet"
    if not index.exists():
        build_index(out / kind / side, index, group=r"^(\d+)/", motion=False, workers=1)
    return index


def train(args: argparse.Namespace) -> None:
    """Train on the recordings of some kinds."""
    name = "_".join(args.kinds)
    roots = [str(indexed(args.out, kind, "train")) for kind in args.kinds]
    words = [
        "train",
        str(Path(__file__).parents[1] / "configs" / "syncnet_faces.yaml"),
        f"--data.root={json.dumps(roots)}",
        f"--name={name}",
        f"--runs={args.out / 'runs'}",
        f"--trainer.max_steps={args.steps}",
        *args.words,
    ]
    sys.exit(command(words))


def measure(args: argparse.Namespace) -> None:
    """Print and write what each network makes of each kind, and what realign would do by the first of them."""
    videos = {kind: open_manifest(indexed(args.out, kind, "test")) for kind in args.kinds}
    table = Table("network trained on", "kind", "in training", "n", "AUC", "within 40 ms", "chance", "unlike")
    rows: dict[str, Any] = {}
    for run in args.runs or sorted((args.out / "runs").iterdir()):
        network = two_streams(load_synchroniser(run))
        trained = [kind for kind in KINDS if kind in run.name.split("_")]
        known = Familiar.fit(*described([args.out / kind / "train" for kind in trained], network, args.known))
        for kind in args.kinds:
            found = measure_synchrony(videos[kind], network)
            strange = known.compare(described([args.out / kind / "test"], network, args.known)[0])
            rows[f"{run.name}/{kind}"] = {**asdict(found), "trained": kind in trained, "unlike": asdict(strange)}
            auc, near = found.auc, found.within_a_frame
            table.add_row(
                run.name,
                kind,
                "yes" if kind in trained else "no",
                str(found.videos),
                f"{auc.value:.3f} ({auc.ci95[0]:.3f} to {auc.ci95[1]:.3f})",
                f"{near.value:.3f} ({near.ci95[0]:.3f} to {near.ci95[1]:.3f})",
                f"{near.chance:.3f}",
                f"{strange.share:.2f}{' !' if strange.unlike else ''}",
            )
            print(f"{run.name} on {kind}: AUC {auc.value:.3f}, within 40 ms {near.value:.3f}", flush=True)
    Console(width=140).print(table)
    write_text(args.out / "travel.json", json.dumps(rows, indent=1))


class Without(Synchroniser):
    """A network that is blind or deaf: what it sees, or hears, is the same mean vector everywhere.

    Args:
        network: the network.
        sense: ``"pictures"`` or ``"sound"``, which is taken from it.
        vector: ``[out]``, the mean.
    """

    def __init__(self, network: TwoStream, sense: str, vector: torch.Tensor) -> None:
        super().__init__(network.num_features, {}, network.num_frames, network.step, network.rate)
        self.network, self.sense, self.vector, self.card = network, sense, vector, network.card

    def distances(self, clips: torch.Tensor, sounds: torch.Tensor, which: torch.Tensor) -> torch.Tensor:  # noqa: D102
        seen, heard = self.network.embed_video(clips), self.network.embed_audio(sounds)
        if self.sense == "pictures":
            seen = self.vector.expand_as(seen)
        else:
            heard = self.vector.expand_as(heard)
        return 1 - (seen[:, None] * heard[which]).sum(2)


def audit(args: argparse.Namespace) -> None:
    """Print how well a network does that can't see or can't hear: chance, if neither gives an offset away alone."""
    network = two_streams(load_synchroniser(args.runs[0]))
    for kind in args.kinds:
        videos = open_manifest(indexed(args.out, kind, "test"))
        seen, heard = [], []
        for info in [videos[place] for place in range(0, len(videos), 4)]:
            with open_video(info.path, info=info) as reader, torch.inference_mode():
                times = torch.arange(5, dtype=torch.float64) / 25 + info.duration / 3
                region = region_for(network, PART)
                seen.append(network.embed_video(seen_of(reader, network, times, region)[None])[0])
                heard.append(network.embed_audio(reader.audio(0.3, 0.5, network.rate).samples[None])[0])
        for sense, vectors in (("pictures", seen), ("sound", heard)):
            found = measure_synchrony(videos, Without(network, sense, torch.stack(vectors).mean(0)))
            (low, high), near = found.auc.ci95, found.within_a_frame
            print(
                f"{kind} without {sense}: AUC {found.auc.value:.3f} ({low:.3f} to {high:.3f}),"
                f" within 40 ms {near.value:.3f} ({near.ci95[0]:.3f} to {near.ci95[1]:.3f}), chance {near.chance:.3f}",
                flush=True,
            )


def fixed(args: argparse.Namespace) -> None:
    """Print what a network makes of a framing that it wasn't trained on: a fixed part of the test recordings."""
    network = load_synchroniser(args.runs[0])
    network.card = {**network.card, "region": list(WIDE)}
    tested = {path.stem: path.parent.name for path in (args.out / "whole" / "test").rglob("*.mp4")}
    paths = [path for path in sorted(args.faces.glob("*.mp4")) if path.stem in tested]
    rows = [
        {**row_from_info(probe(path)), "root": str(args.faces), "path": path.name, "group": tested[path.stem]}
        for path in paths
    ]
    found = measure_synchrony(Manifest.from_rows(rows), network)
    auc, near = found.auc, found.within_a_frame
    print(
        f"{found.videos} recordings, the fixed part {WIDE}:"
        f" AUC {auc.value:.3f} ({auc.ci95[0]:.3f} to {auc.ci95[1]:.3f}),"
        f" within 40 ms {near.value:.3f} ({near.ci95[0]:.3f} to {near.ci95[1]:.3f}), chance {near.chance:.3f}"
    )


def estimates(args: argparse.Namespace) -> None:
    """Print how often a curve's lowest point, and the estimate, are within 40 ms of where the sound was put.

    With the sounds of three other recordings, that should be as often as a guess is.
    """
    network, grid = load_synchroniser(args.runs[0]), offset_grid(0.4, 0.02)
    for kind in args.kinds:
        videos, rng = open_manifest(indexed(args.out, kind, "test")), np.random.default_rng(0)
        right: dict[str, list[list[bool]]] = {"its own sound": [], "others' sounds": []}
        chances = []
        for place, late in enumerate((0.02 * rng.integers(-10, 11, len(videos))).tolist()):
            for away in (0, len(videos) // 5, len(videos) // 3, len(videos) // 2):
                info, heard = videos[place], videos[(place + away) % len(videos)]
                with open_video(info.path, info=info) as reader, open_video(heard.path, info=heard) as sound:
                    found = offset_from(curve(Displaced(reader, late, sound), network, grid))
                lowest = found.curve.offsets[found.curve.distances.argmin()].item()
                near = [abs(offset - late) < WITHIN + 1e-6 for offset in (lowest, found.seconds)]
                right["others' sounds" if away else "its own sound"].append(near)
                chances.append(((found.curve.offsets - late).abs() < WITHIN + 1e-6).double().mean().item())
        for sound, rows in right.items():
            shares = [f"{share:.3f}" for share in np.mean(rows, 0)]
            print(f"{kind}, {sound}: lowest point {shares[0]}, estimate {shares[1]}, chance {np.mean(chances):.3f}")


def described(folders: list[Path], network: TwoStream, most: int) -> tuple[np.ndarray, list[str]]:
    """Return what a network sees in recordings below folders (`describe`), and their groups."""
    paths = [path for folder in folders for path in sorted(folder.rglob("*.mp4"))]
    chosen = [paths[place] for place in np.unique(np.linspace(0, len(paths) - 1, min(most, len(paths))).astype(int))]
    vectors = []
    for path in chosen:
        with open_video(path) as reader:
            vectors.append(describe(reader, network).numpy())
    return np.stack(vectors), [path.parent.name for path in chosen]


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(required=True)
    one = parts.add_parser("cut")
    one.add_argument("--faces", type=Path, required=True)
    one.add_argument("--model", type=Path, required=True)
    one.add_argument("--files", type=int)
    one.set_defaults(do=cut)
    two = parts.add_parser("train")
    two.add_argument("--kinds", nargs="+", choices=KINDS, required=True)
    two.add_argument("--steps", type=int, default=500)
    two.add_argument("words", nargs="*", help="more words for `avssl train`")
    two.set_defaults(do=train)
    three = parts.add_parser("measure")
    three.add_argument("--runs", type=Path, nargs="+", help="default: all")
    three.add_argument("--known", type=int, default=150, help="recordings by which likeness is judged")
    three.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    three.set_defaults(do=measure)
    four = parts.add_parser("audit")
    four.add_argument("--runs", type=Path, nargs=1, required=True)
    four.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    four.set_defaults(do=audit)
    five = parts.add_parser("fixed")
    five.add_argument("--faces", type=Path, required=True)
    five.add_argument("--runs", type=Path, nargs=1, required=True)
    five.set_defaults(do=fixed)
    six = parts.add_parser("estimates")
    six.add_argument("--runs", type=Path, nargs=1, required=True)
    six.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    six.set_defaults(do=estimates)
    for made in (one, two, three, four, five, six):
        made.add_argument("-o", "--out", type=Path, required=True)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    args.do(args)


if __name__ == "__main__":
    main()
