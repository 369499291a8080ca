"""``avssl sync``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from rich.console import Console
from rich.table import Table

from avssl.catalog.index import open_manifest
from avssl.evaluation.pictures import offset_picture
from avssl.media import MediaError, VideoInfo, open_video
from avssl.media.places import locate
from avssl.media.source import SourceError
from avssl.runtime.checks import check_ranges
from avssl.runtime.parser import Parser
from avssl.sync.offset import Offset, describe_offset, find_offset, load_synchroniser


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
    made.add_argument("--resolution", type=float, default=0.02, help="seconds between offsets")
    made.add_argument("-o", "--out", type=Path | None, help="PNG of the curves to write")
    return made


def recordings(path: Path) -> Iterator[tuple[Path, VideoInfo | None]]:
    """Yield the recordings that a word of the command line stands for: a file, or all of a collection."""
    if path.is_dir() or path.suffix in (".parquet", ".arrow") or locate(path) is not None:
        yield from ((info.path, info) for info in open_manifest(path))
    else:
        yield path, None


def run(words: Sequence[str]) -> None:
    """Measure, print a line per video, and draw; exit with status 1 if no video could be measured."""
    args = parser().parse_args(words)
    check_ranges("", args, reach="(0, inf)", resolution="(0, inf)")
    network = load_synchroniser(args.run)
    found: dict[str, Offset] = {}
    table = Table("video", "offset (ms, + = sound late)", "confidence", "in words")
    for path, info in chain.from_iterable(map(recordings, args.videos)):
        name = path.name if info is None else Path(info.place).name
        try:
            with open_video(path, info=info) as reader:
                offset = find_offset(reader, network, args.reach, args.resolution)
        except SourceError:
            raise
        except (MediaError, ValueError) as error:
            table.add_row(name, "", "", str(error))
            continue
        text = describe_offset(offset.seconds)
        table.add_row(name, f"{1000 * offset.seconds:+.0f}", f"{offset.confidence:.3f}", text)
        found[f"{name}: {text}"] = offset
    Console().print(table)
    if args.out is not None and found:
        offset_picture(found, args.out)
        print(args.out)
    if not found:
        raise SystemExit(1)
