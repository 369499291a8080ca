"""A first look at a collection: how long, how lively, how loud and how alike its videos are."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from avssl.catalog.manifest import Manifest
from avssl.labels.camera import homography, homography_flow
from avssl.labels.flow import dis_flow, grey, one_thread
from avssl.media import open_video
from avssl.sync import find_offset, load_synchroniser

Floats = NDArray[np.float64]
LOOKED_AT = 200  # videos whose pictures are looked at
FEW = 16  # videos in which camera, faces and sound are looked for
MOMENTS = 5  # pictures of a video
SIDE = 24  # pixels of a small picture
FLOW = 96  # pixels of a picture for flow
APART = 0.1  # seconds between two pictures for flow
PANS = 0.003  # widths of the picture by which a moving camera shifts it in that time
STATIC = 0.0005  # mean grey difference per eighth of a second, of 1, below which nothing moves
DARK = 8.0  # grey levels, of mean and deviation, below which a video is black
TWINS = 0.98, 0.9  # correlations of pictures, and of what changes in them, above which two videos are near duplicates
FACE = 0.8  # confidence of a detection
WIDE = 320  # pixels of a picture in which faces are looked for
IN_SYNC = 0.1  # seconds


@dataclass(frozen=True)
class Collection:
    """What is known of a collection; shares are of its videos.

    Attributes:
        videos: number that can be used.
        refused: number of files that can't.
        hours: duration of all together.
        seconds: shortest, lower quartile, median and longest duration.
        stills: share that have a single frame.
        static: share in which nothing moves.
        motion: median over videos of the mean grey difference per eighth of a second, of 1.
        sound: share with sound that isn't silent.
        silent: share with a silent sound track.
        grades: number of videos by how well the file says where the sound belongs (`VideoInfo.sync_grade`).
        black: share that are black.
        alike: median correlation of the pictures of two videos.
        twins: pairs of near duplicates, beside ``identical`` files.
        identical: number of files that are a copy of another.
        groups: number of groups; 0 if the collection names none.
        camera: share of videos whose camera moves; None if nothing could be measured.
        faces: share of videos with a face; None without a detector.
        in_sync: share of videos whose sound is within 0.1 s of its place; None without a synchroniser or sound.
    """

    videos: int
    refused: int
    hours: float
    seconds: tuple[float, float, float, float]
    stills: float
    static: float
    motion: float
    sound: float
    silent: float
    grades: dict[str, int]
    black: float
    alike: float
    twins: int
    identical: int
    groups: int
    camera: float | None = None
    faces: float | None = None
    in_sync: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)


def survey(
    videos: Manifest,
    copies: Manifest,
    group: str | None = None,
    faces: Path | None = None,
    sync: Path | None = None,
) -> Collection:
    """Look at a collection: at all rows of its manifest, and at the pictures of a sample.

    Args:
        videos: the collection, at least one video.
        copies: small copies of them, from which most pictures are read; or the collection itself.
        group: regular expression in file names for what belongs together; None takes the manifest's groups.
        faces: a YuNet face detector (ONNX).
        sync: run folder of a synchroniser.
    """
    named = videos.column("group").drop_null().to_pylist()
    if (pattern := as_pattern(group)) is not None:
        named = [found["group"] for path in videos.paths() if (found := re.search(pattern, path.name))]
    lengths = videos.column("duration").to_numpy()
    frames = videos.column("frames").to_numpy()
    single = (frames <= 1) | np.array([kind == "image" for kind in videos.column("container").to_pylist()])
    motion = np.array([_liveliness(raw) for raw in videos.column("motion").to_pylist()])
    heard = np.array([rate is not None for rate in videos.column("audio_rate").to_pylist()])
    silent = heard & np.array([bool(quiet) for quiet in videos.column("audio_silent").to_pylist()])
    contents = Counter(content for content in videos.column("content").to_pylist() if content and ":" not in content)
    pictures = thumbnails(copies, sample(len(copies), LOOKED_AT))
    dark = (pictures.mean((1, 2, 3)) < DARK) & (pictures.std((1, 2, 3)) < DARK)
    alike, twins = likeness(pictures)
    few = sample(len(videos), FEW)
    loud = [row for row in few if heard[row] and not silent[row]]
    quartiles = (float(value) for value in np.quantile(lengths, (0, 0.25, 0.5, 1)))
    return Collection(
        videos=len(videos),
        refused=len(videos.rejected),
        hours=float(lengths.sum() / 3600),
        seconds=tuple(quartiles),  # type: ignore[arg-type]
        stills=float(single.mean()),
        static=float((motion < STATIC).mean()),
        motion=float(np.median(motion)),
        sound=float((heard & ~silent).mean()),
        silent=float(silent.mean()),
        grades=dict(Counter(videos.column("sync_grade").to_pylist())),
        black=float(dark.mean()),
        alike=alike,
        twins=twins,
        identical=sum(count - 1 for count in contents.values()),
        groups=len(set(named)),
        camera=moving_camera(copies, sample(len(copies), FEW)),
        faces=None if faces is None else with_faces(videos, few, faces),
        in_sync=None if sync is None or not loud else synchronous(videos, loud, sync),
    )


def as_pattern(group: str | None) -> str | None:
    """Return a regular expression whose group ``group`` is what was asked for: all of it, unless it has one."""
    return group if group is None or "(?P<group>" in group else f"(?P<group>{group})"


def sample(count: int, most: int) -> list[int]:
    """Return up to ``most`` of ``count`` positions, evenly spaced."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(int)).tolist()


def _liveliness(raw: bytes | None) -> float:
    values = np.frombuffer(raw or b"", np.float16).astype(np.float64)
    return float(values.mean()) if len(values) else 0.0


def thumbnails(videos: Manifest, rows: Sequence[int]) -> Floats:
    """Return small grey pictures ``[V, MOMENTS, SIDE, SIDE]``, spread over each video, 0 to 255."""
    found = []
    for row in rows:
        info = videos[row]
        times = (torch.arange(MOMENTS, dtype=torch.float64) + 0.5) / MOMENTS * info.duration
        with open_video(info.path, info=info) as reader:
            found.append(grey(reader.frames(times, size=(SIDE, SIDE))))
    return np.stack(found).astype(np.float64)


def likeness(pictures: Floats) -> tuple[float, int]:
    """Return the median correlation of the pictures ``[V, T, S, S]`` of two videos, and the number of near duplicates.

    Near duplicates are alike in their pictures and in what changes from one to the next, so that a standing camera
    makes none. Without two videos the correlation is 0.
    """
    if len(pictures) < 2:
        return 0.0, 0
    pairs = np.triu_indices(len(pictures), 1)
    whole = _correlations(pictures.reshape(len(pictures), -1))[pairs]
    changes = (pictures - pictures.mean(1, keepdims=True)).reshape(len(pictures), -1)
    changing = _correlations(changes)[pairs]
    return float(np.median(whole)), int(((whole > TWINS[0]) & (changing > TWINS[1])).sum())


def _correlations(rows: Floats) -> Floats:
    centred = rows - rows.mean(1, keepdims=True)
    unit = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9)
    return unit @ unit.T


def moving_camera(videos: Manifest, rows: Sequence[int]) -> float | None:
    """Return the share of videos in which most of the picture is shifted as by a moving camera; None if none is long.

    A homography is fitted to the flow between two pictures, twice in each video.
    """
    moves = []
    for row in rows:
        info = videos[row]
        if info.duration <= 2 * APART:
            continue
        begins = torch.tensor([0.3, 0.7], dtype=torch.float64) * (info.duration - APART)
        times = torch.stack([begins, begins + APART], 1).flatten()
        with open_video(info.path, info=info) as reader:
            pictures = grey(reader.frames(times, size=(FLOW, FLOW)))
        shifts = []
        for first, second in pictures.reshape(2, 2, FLOW, FLOW):
            matrix = homography(dis_flow(first, second))
            shift = 0.0 if matrix is None else np.median(np.linalg.norm(homography_flow(matrix, (FLOW, FLOW)), axis=0))
            shifts.append(float(shift) / FLOW)
        moves.append(max(shifts) > PANS)
    return float(np.mean(moves)) if moves else None


def with_faces(videos: Manifest, rows: Sequence[int], model: Path) -> float:
    """Return the share of videos with a face in one of three pictures."""
    if not model.is_file():
        raise FileNotFoundError(f"{model}: no such face detector")
    shown = []
    for row in rows:
        info = videos[row]
        size = (round(WIDE * info.size[0] / info.size[1]), WIDE)
        times = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64) * info.duration
        with open_video(info.path, info=info) as reader:
            frames = reader.frames(times, size=size).permute(0, 2, 3, 1).numpy()
        detector = cv2.FaceDetectorYN.create(str(model), "", (size[1], size[0]), FACE)
        with one_thread():
            shown.append(any(detector.detect(frame[..., ::-1].copy())[1] is not None for frame in frames))
    return float(np.mean(shown))


def synchronous(videos: Manifest, rows: Sequence[int], run: Path) -> float | None:
    """Return the share of videos whose sound a synchroniser finds within 0.1 s of its place; None if all are short."""
    network, found = load_synchroniser(run), []
    for row in rows:
        with contextlib.suppress(ValueError):  # too short for the network
            found.append(abs(find_offset(videos[row].path, network).seconds) <= IN_SYNC)
    return float(np.mean(found)) if found else None
