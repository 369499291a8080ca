"""Faces and speakers on material made from real recordings: what comes out of each kind, and who is found to speak.

    python benchmarks/people.py --data ../shared/data --run RUN -o people
    python benchmarks/people.py --data ../shared/data --run travel/runs/whole_lips --unseen travel/whole/test -o people

Kinds, made from `talking_faces` (the last files, or those also in the folder of ``--unseen``, of which RUN must not
have seen any) unless said otherwise: faces
``alone``; ``pair`` and ``three``, side by side, of which one is heard; ``dubbed``, with the words of somebody else;
``voice_over``, people of `yoga_poses` with words; ``turned``, by a warp that moves nose and mouth to a side;
``small``, a face of about 25 pixels; ``blurred``; ``people``, whole recordings of `panda_av`. The builder takes all of
it, in both modes. Printed are the reasons by kind, the share of pairs and threes in which the face that is heard is the
surest (chance: one half, one third), the same by how much each mouth moves, and how sure in-sync faces and dubbed ones
are, with bootstrap intervals over recordings; ``tracks.png`` shows an example of each kind with its faces.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import torch
from av.video.frame import VideoFrame
from sklearn.metrics import roc_auc_score
from torchvision.io import write_png

from avssl.avsync import Accept, Crops, Cut, Execution, Faces, Options, Shots, Speech, Split, Sync, build
from avssl.avsync.card_people import SEEN, draw
from avssl.avsync.cropping import TrackReader
from avssl.avsync.faces import Detector, find_tracks
from avssl.avsync.framing import Framing
from avssl.avsync.tracks import boxes_of
from avssl.catalog.encode import Movie, pieces, write_movie
from avssl.media import open_video, probe

FPS, RATE, FRAMES = Fraction(25), 16000, 29
SIDEWAYS = 0.5  # distances of the eyes
Film = tuple[np.ndarray, torch.Tensor]  # [T, H, W, 3] and [S]


def read(path: Path, size: tuple[int, int] | None = None) -> Film:
    """Return a second of pictures at 25 frames per second, and its sound."""
    with open_video(path, "pyav") as reader:
        times = torch.arange(FRAMES, dtype=torch.float64) / float(FPS)
        pictures = reader.frames(times.clamp(max=reader.info.duration - 1e-3), size).movedim(1, 3).contiguous().numpy()
        if reader.info.audio is None:
            return pictures, torch.zeros(0)
        return pictures, reader.audio(0.0, FRAMES / float(FPS), RATE).samples


def write(path: Path, pictures: np.ndarray, sound: torch.Tensor) -> None:
    """Write a recording."""
    frames = []
    for number, picture in enumerate(pictures):
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24").reformat(format="yuv420p")
        frame.pts, frame.time_base = number, 1 / FPS
        frames.append(frame)
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = pictures.shape[1:3]
    write_movie(path, iter(frames), pieces(sound, RATE), Movie(FPS, (height, width), 10, RATE), {"crf": "16"})


def turned(pictures: np.ndarray, model: Path, side: float) -> np.ndarray:
    """Warp pictures so that nose and mouth lie beside an eye: ``side`` is how far, in distances of the eyes."""
    face = Detector(model)(pictures[0])[0]
    (right, _), (left, _), (nose, _) = face[4:10].reshape(3, 2)
    eyes = left - right
    height, width = pictures.shape[1:3]
    across = np.arange(width, dtype=np.float32)
    near = np.exp(-(((across - nose - side * eyes) / (0.6 * eyes)) ** 2) / 2)
    columns = np.repeat((across - side * eyes * near)[None].astype(np.float32), height, axis=0)
    rows = np.repeat(np.arange(height, dtype=np.float32)[:, None], width, axis=1)
    return np.stack([cv2.remap(picture, columns, rows, cv2.INTER_LINEAR) for picture in pictures])


def make(data: Path, model: Path, root: Path, count: int, unseen: set[str]) -> dict[str, int]:
    """Write the material, and return the place of the face that is heard, by recording."""
    clips, rng = sorted((data / "talking_faces" / "clips").iterdir()), np.random.default_rng(0)
    clips = [clip for clip in clips if clip.name in unseen] if unseen else clips[-390:]
    clips = [clips[place] for place in rng.permutation(len(clips))]
    heard = {}

    def some(number: int) -> list[Film]:
        return [read(clips.pop(), (256, 256)) for _ in range(number)]

    for number in range(count):
        for kind, people in (("pair", 2), ("three", 3)):
            films, speaker = some(people), int(rng.integers(people))
            write(root / kind / f"{number}.mp4", np.concatenate([film[0] for film in films], 2), films[speaker][1])
            heard[f"{kind}/{number}.mp4"] = speaker
        (pictures, sound), (_, other) = some(2)
        write(root / "alone" / f"{number}.mp4", pictures, sound)
        write(root / "dubbed" / f"{number}.mp4", pictures, other)
    for number in range(min(count, 8)):
        ((pictures, sound),) = some(1)
        write(root / "turned" / f"{number}.mp4", turned(pictures, model, SIDEWAYS if number % 2 else -SIDEWAYS), sound)
        small = np.stack([cv2.resize(picture, (44, 44), interpolation=cv2.INTER_AREA) for picture in pictures])
        write(root / "small" / f"{number}.mp4", np.pad(small, ((0, 0), (100, 112), (100, 112), (0, 0))), sound)
        soft = np.stack([cv2.GaussianBlur(picture, (0, 0), 5.0) for picture in pictures])
        write(root / "blurred" / f"{number}.mp4", soft, sound)
    poses = sorted((data / "yoga_poses").rglob("*.mp4"))[:: max(1, 61 // min(count, 8))][: min(count, 8)]
    for number, path in enumerate(poses):
        write(root / "voice_over" / f"{number}.mp4", read(path, (288, 512))[0], some(1)[0][1])
    news = sorted((data / "panda_av" / "News_and_TV_Shows").iterdir(), key=lambda path: path.stat().st_size)
    for path in news[:count]:
        (root / "people").mkdir(exist_ok=True)
        (root / "people" / path.name).symlink_to(path.resolve())
    return heard


def motion(path: Path, model: Path) -> list[float]:
    """Return how much each mouth moves, from left to right: the mean difference of frames."""
    info = probe(path)
    tracks = sorted(find_tracks(info, model), key=lambda track: track.boxes[0, 0])
    mouths = []
    with open_video(path, "pyav", info) as reader:
        for track in tracks:
            shown = TrackReader(reader, track, Framing("mouth", 0.3, 0.08, False, 48))
            times = (torch.arange(shown.info.num_frames, dtype=torch.float64) + 0.5) / shown.info.fps
            mouths.append(shown.frames(times).float().mean(1))
    return [float((mouth.diff(dim=0).abs().mean() / mouth.std()).item()) for mouth in mouths]


def sheet(root: Path, model: Path) -> torch.Tensor:
    """Return ``[3, H, W]``: an example of each kind, with its faces."""
    parts = []
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        info = probe(sorted(folder.iterdir())[0])
        length = min(info.num_frames, round(1.2 * info.fps))
        short = replace(info, num_frames=length, duration=length / info.fps)
        boxes = [box | {"colour": SEEN} for box in boxes_of("", find_tracks(short, model), 0, length)]
        with open_video(info.path, "pyav", info) as reader:
            numbers = torch.linspace(0, length - 1, 4).round().double()
            size = (192, 2 * round(96 * info.size[1] / info.size[0]))
            frames = draw(reader.frames(numbers / info.fps, size), numbers, boxes, 192 / info.size[0])
        parts.append(torch.cat(list(frames), dim=2))
    width = max(part.shape[2] for part in parts)
    return torch.cat([torch.nn.functional.pad(part, (0, width - part.shape[2])) for part in parts], dim=1)


def interval(values: np.ndarray) -> str:
    """Return a mean with its 95 % bootstrap interval."""
    rng = np.random.default_rng(0)
    means = [values[rng.integers(len(values), size=len(values))].mean() for _ in range(2000)]
    return f"{values.mean():.3f} ({np.quantile(means, 0.025):.3f} to {np.quantile(means, 0.975):.3f})"


def report(sources: list[dict], faces: list[dict], root: Path, heard: dict[str, int], model: Path) -> None:
    """Print the reasons by kind, and who was found to speak."""
    table = Counter((row["source"].split("/")[1], row["reason"] or "kept") for row in sources)
    made = sum(path.is_file() for path in root.rglob("*.mp4"))  # links, too
    print(f"{made} recordings, {len(sources)} accounted for\n| kind | outcome | sources |\n|---|---|---|")
    for (kind, reason), number in sorted(table.items()):
        print(f"| {kind} | {reason} | {number} |")
    mine: dict[str, list[dict]] = {}
    for face in faces:
        if face["confidence"] is not None and face["start"] == 0:
            mine.setdefault(face["source"].removeprefix("material/"), []).append(face)
    for kind, people in (("pair", 2), ("three", 3)):
        right, moved = [], []
        for name, speaker in heard.items():
            found = sorted(mine.get(name, []), key=lambda face: face["track"])  # from left to right
            if name.startswith(kind) and len(found) == people:
                right.append(int(np.argmax([face["confidence"] for face in found])) == speaker)
                moved.append(int(np.argmax(motion(root / name, model)[:people])) == speaker)
        if right:
            words = f"the surest face is the one heard: {interval(np.array(right, float))}"
            print(f"{kind}: {len(right)}; {words}; the mouth that moves most: {interval(np.array(moved, float))}")
            print(f"  chance {1 / people:.3f}")
    sure = [face["confidence"] for name, some in mine.items() if name.startswith("alone") for face in some]
    other = [face["confidence"] for name, some in mine.items() if name.startswith("dubbed") for face in some]
    if sure and other:
        print(f"alone against dubbed: AUC {roc_auc_score([1] * len(sure) + [0] * len(other), sure + other):.3f}")


def main() -> None:
    """Make the material, build it in both modes, and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--unseen", type=Path, help="folder with the recordings that the run wasn't trained on")
    parser.add_argument("--count", type=int, default=24, help="recordings of a kind")
    parser.add_argument("--speaking", type=float, help="least confidence of a face that speaks")
    parser.add_argument("--workers", type=int, default=1)
    args = parser.parse_args()
    root, model = args.out / "material", args.data / "models" / "yunet_n_640_640.onnx"
    unseen = {path.name for path in args.unseen.rglob("*.mp4")} if args.unseen else set()
    heard = make(args.data, model, root, args.count, unseen)
    faces = []
    for mode in ("score", "drop"):
        options = Options(
            Accept(unsignalled=True, length_tolerance=3, copies=True),
            shots=Shots(threshold=27),
            cut=Cut(seconds=1.1, min_seconds=0.9, still=1.0),
            speech=Speech("score"),
            faces=Faces(model, mode=mode, speaking=args.speaking),
            crops=Crops("face"),
            sync=Sync(run=args.run, max_offset=0.3, seen="track"),
            split=Split(test=0, validation=0),
        )
        print(build([root], args.out / "dataset", options, Execution(workers=args.workers)))
        if mode == "score":
            faces = pq.read_table(args.out / "dataset" / "faces.parquet").to_pylist()
    sources = pq.read_table(args.out / "dataset" / "sources.parquet").to_pylist()
    write_png(sheet(root, model), str(args.out / "tracks.png"))
    report(sources, faces, root, heard, model)


if __name__ == "__main__":
    main()
