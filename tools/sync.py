"""Is the sound of a video early or late? One line a video, and a picture of the curves.

    python tools/sync.py VIDEO... --run=runs/syncnet -o sync.png

An offset is positive where the sound is late: what is seen at t is heard at t + offset. Confidence is the median minus
the minimum of the curve; near 0 the network sees no connection, and the offset means nothing.
"""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser
from rich.console import Console
from rich.table import Table

from avssl.evaluation.pictures import offset_picture
from avssl.media import MediaError
from avssl.sync.offset import Offset, describe_offset, find_offset, load_synchroniser


def main() -> None:
    """Parse, measure, print, draw."""
    parser = ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("videos", type=Path, nargs="+", help="recordings with sound")
    parser.add_argument("--run", type=Path, required=True, help="a run of syncnet, avts or owens_efros")
    parser.add_argument("--reach", type=float, default=0.4, help="seconds of the largest offset, early or late")
    parser.add_argument("--resolution", type=float, default=0.02, help="seconds from one offset to the next")
    parser.add_argument("-o", "--out", type=Path, help="a PNG of the curves")
    args = parser.parse_args()
    try:
        network = load_synchroniser(args.run)
    except (FileNotFoundError, ValueError) as error:
        raise SystemExit(f"error: {error}") from error
    found: dict[str, Offset] = {}
    table = Table("video", "offset (ms, + = sound late)", "confidence", "in words")
    for path in args.videos:
        try:
            offset = find_offset(path, network, args.reach, args.resolution)
        except (MediaError, ValueError) as error:
            table.add_row(path.name, "", "", str(error))
            continue
        words = describe_offset(offset.seconds)
        table.add_row(path.name, f"{1000 * offset.seconds:+.0f}", f"{offset.confidence:.3f}", words)
        found[f"{path.name}: {words}"] = offset
    Console().print(table)
    if args.out is not None and found:
        offset_picture(found, args.out)
        print(args.out)
    if not found:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
