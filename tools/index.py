r"""Measure the videos below a folder and write their manifest.

For example: ``python tools/index.py ../shared/data/ut_interaction -o videos.parquet --group 'seq\d+'``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from jsonargparse import ArgumentParser

from avssl.catalog.index import build_index
from avssl.catalog.summary import summarise
from avssl.media import MediaError


def main() -> None:
    """Parse the command line, index, print the summary."""
    parser = ArgumentParser(prog="index.py", description=__doc__)
    parser.add_argument("root", type=Path, help="the folder of videos; nothing is written there")
    parser.add_argument("-o", "--out", type=Path, required=True, help="the manifest to write, a .parquet file")
    parser.add_argument(
        "--labels", default="auto", help="auto, folders, none, or a CSV with columns path,label[,group,view]"
    )
    parser.add_argument("--group", type=str | None, help="regular expression for the group in the relative path")
    parser.add_argument("--view", type=str | None, help="regular expression for the view in the relative path")
    parser.add_argument("--workers", type=int | None, help="number of processes (default: one a core)")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds after which a file is given up")
    parser.add_argument("--no-motion", action="store_true", help="read packets only, decode nothing: no motion profile")
    parser.add_argument("--retry", action="store_true", help="measure rejected files again")
    args = parser.parse_args()
    try:
        manifest = build_index(
            args.root,
            args.out,
            labels=args.labels,
            group=args.group,
            view=args.view,
            workers=args.workers,
            timeout=args.timeout,
            motion=not args.no_motion,
            retry=args.retry,
        )
    except (MediaError, OSError, ValueError) as error:
        sys.exit(f"index.py: {error}")
    print(f"{summarise(manifest)}\nwritten to {args.out}")


if __name__ == "__main__":
    main()
