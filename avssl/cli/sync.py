"""``avssl sync``."""

from __future__ import annotations

import csv
import io
import json
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from avssl.avsync.score import RunScorer
from avssl.catalog.index import open_manifest
from avssl.encoders.export import weights_hash
from avssl.evaluation.pictures import offset_picture
from avssl.media import MediaError, VideoInfo, VideoReader, open_video
from avssl.media.places import locate
from avssl.media.regions import WHOLE, Part, Region, noted_region
from avssl.media.source import SourceError
from avssl.runtime.checks import check_ranges
from avssl.runtime.files import write_text
from avssl.runtime.parser import Parser
from avssl.sync.calibration import Calibration
from avssl.sync.familiar import Familiar, describe, two_streams
from avssl.sync.network import Synchroniser
from avssl.sync.offset import Offset, describe_offset, find_offset, load_synchroniser

FIELDS = ("video", "offset", "confidence", "probability", "at_edge", "windows", "error")


def parser() -> Parser:
    """Return the parser of ``avssl sync``."""
    made = Parser(
        prog="avssl sync",
        description="Find out whether the sound of a video is early or late. A positive offset means late sound: "
        "what is seen at t is heard at t + offset. Confidence is the median minus the minimum of the "
        "curve; near 0 the network finds no relation between sound and picture, and the offset means "
        "nothing.",
        examples=[
            "avssl sync VIDEO --run=runs/syncnet -o sync.png",
            "avssl sync segments.parquet --run=runs/syncnet",
        ],
    )
    made.add_argument(
        "videos", type=Path, nargs="+", help="recordings with sound; or folders, also in stores, and manifests of them"
    )
    made.add_argument("--run", type=Path, required=True, help="run of syncnet, avts or owens_efros")
    made.add_argument("--reach", type=float, default=0.4, help="largest offset considered, in seconds")
    made.add_argument(
        "--region",
        type=tuple[float, float, float, float] | None,
        help="part of the pictures to look at: left, top, right, bottom, as fractions; (0, 0, 1, 1) is all. Default:"
        " the part that the run learnt from",
    )
    made.add_argument(
        "--faces",
        type=Path | None,
        help="face detector (YuNet as ONNX), for a run that learnt from tracked faces: each face of whole pictures is"
        " measured, and the surest one counts",
    )
    made.add_argument("--resolution", type=float, default=0.02, help="seconds between offsets")
    made.add_argument(
        "--calibration", type=Path | None, help="calibration.json of avssl build --calibrate: adds probabilities"
    )
    made.add_argument(
        "--remember", type=Path | None, help="file to write down what the run sees and hears in these recordings"
    )
    made.add_argument(
        "--known",
        type=Path | None,
        help="such a file, of recordings that the run learnt from: says if these are unlike them, so that confidences"
        " mean little",
    )
    made.add_argument(
        "-o", "--out", type=Path | None, help="what to write: .png (the curves), .json, .csv, or a folder for all three"
    )
    return made


def recordings(path: Path) -> Iterator[tuple[Path, VideoInfo | None]]:
    """Yield the recordings that a word of the command line stands for: a file, or all of a collection."""
    if path.is_dir() or path.suffix in (".parquet", ".arrow") or locate(path) is not None:
        yield from ((info.path, info) for info in open_manifest(path))
    else:
        yield path, None


def run(words: Sequence[str]) -> None:
    """Measure, print a line per video, and write; exit with status 1 if no video could be measured."""
    args = parser().parse_args(words)
    check_ranges("", args, reach="(0, inf)", resolution="(0, inf)")
    targets = _targets(args.out)
    network = load_synchroniser(args.run)
    calibration = None if args.calibration is None else _calibration(args.calibration, network, args)
    found: dict[str, Offset] = {}
    rows: list[dict[str, Any]] = []
    seen: list[tuple[np.ndarray, str]] = []  # with the group
    table = Table(
        "video", "offset (ms, + = sound late)", "confidence", *(["probability"] * bool(calibration)), "in words"
    )
    for path, info in chain.from_iterable(map(recordings, args.videos)):
        name = path.name if info is None else Path(info.place).name
        row: dict[str, Any] = {**dict.fromkeys(FIELDS), "video": str(path if info is None else info.place)}
        rows.append(row)
        try:
            with open_video(path, info=info) as reader:
                offset, shown, region = _offset(reader, network, args)
                if args.known or args.remember:
                    group = (info and info.group) or str(path)
                    seen.append((describe(shown, two_streams(network), region).numpy(), group))
        except SourceError:
            raise
        except (MediaError, ValueError) as error:
            row["error"] = str(error)
            table.add_row(name, *[""] * (len(table.columns) - 2), str(error))
            continue
        row |= {"offset": round(offset.seconds, 6), "confidence": offset.confidence, "at_edge": offset.at_edge}
        row |= {"windows": int(offset.curve.windows.max())}
        cells = [f"{1000 * offset.seconds:+.0f}", f"{offset.confidence:.3f}"]
        if calibration is not None:
            row["probability"] = 0.0 if offset.at_edge else calibration.probability(offset.confidence)
            cells.append(f"{row['probability']:.2f}")
        text = describe_offset(offset.seconds)
        if offset.at_edge:
            text = f"at least as much as was searched ({text}), or none at all: raise --reach"
        table.add_row(name, *cells, text)
        found[f"{name}: {describe_offset(offset.seconds)}"] = offset
    Console().print(table)
    if seen:
        _compare(np.stack([vector for vector, _ in seen]), [group for _, group in seen], args)
    for path in targets:
        _write(path, rows, found, args)
    if not found:
        raise SystemExit(1)


def _offset(reader: VideoReader, network: Synchroniser, args: Namespace) -> tuple[Offset, VideoReader, Region | None]:
    """Measure a recording: by its faces, if it shows whole pictures and a detector is given.

    Returns:
        The offset, and what was shown: a reader, and the region of its pictures.
    """
    if args.faces is None or args.region is not None or isinstance(noted_region(reader.info.path.parent), Part):
        return find_offset(reader, network, args.reach, args.resolution, region=args.region), reader, args.region
    from avssl.avsync.mouths import find_offset_of_faces  # imports OpenCV

    return *find_offset_of_faces(reader, network, args.faces, args.reach, args.resolution), WHOLE


def _compare(vectors: np.ndarray, groups: Sequence[str], args: Namespace) -> None:
    """Write down what the run sees and hears, and say whether it is unlike what it knows."""
    if args.remember:
        Familiar.fit(vectors, groups).save(args.remember)
        print(args.remember)
    if args.known:
        found = Familiar.load(args.known).compare(vectors)
        verdict = "UNLIKE them: confidences were not measured on such recordings" if found.unlike else "like them"
        print(
            f"{found.share:.2f} of {found.recordings} recordings are farther from those that the run knows than"
            f" {1 - found.chance:.2f} of these are (chance {found.chance:.2f}): {verdict}"
        )


def _targets(out: Path | None) -> list[Path]:
    if out is None:
        return []
    if out.suffix in (".png", ".json", ".csv"):
        return [out]
    if out.suffix:
        raise ValueError(f"-o {out}: expected .png, .json, .csv or a folder")
    out.mkdir(parents=True, exist_ok=True)
    return [out / f"sync{suffix}" for suffix in (".json", ".csv", ".png")]


def _calibration(path: Path, network: Synchroniser, args: Namespace) -> Calibration:
    found, own = Calibration.load(path), RunScorer(args.run, args.reach, weights_hash(network)).name()
    if found.estimator != own:
        raise ValueError(f"{path} was measured for another run or reach: {found.reach:g} s (give --reach)")
    return found


def _write(path: Path, rows: Sequence[dict[str, Any]], found: Mapping[str, Offset], args: Namespace) -> None:
    if path.suffix == ".png":
        if not found:
            return
        offset_picture(found, path)
    elif path.suffix == ".json":
        about = {"run": str(args.run), "reach": args.reach, "resolution": args.resolution, "unit": "seconds"}
        about["sign"] = "positive: the sound is late"
        write_text(path, json.dumps({**about, "videos": rows}, indent=1) + "\n")
    else:
        text = io.StringIO()
        writer = csv.DictWriter(text, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(path, text.getvalue())
    print(path)
