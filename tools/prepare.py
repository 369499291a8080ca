"""Make training-ready copies: small H.264 with close keyframes, 16 kHz mono sound in its place on the time axis.

For example: ``python tools/prepare.py ../shared/data/ut_interaction -o prepared``, then ``--data.root=prepared``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from jsonargparse import ArgumentParser

from avssl.catalog.copies import prepare
from avssl.catalog.encode import CopyOptions
from avssl.catalog.index import open_manifest
from avssl.catalog.summary import summarise
from avssl.media import MediaError


def main() -> None:
    """Parse the command line, make the copies, say how it went."""
    parser = ArgumentParser(prog="prepare.py", description=__doc__)
    parser.add_argument("source", type=Path, help="a manifest, or a folder of videos; it is never written to")
    parser.add_argument("-o", "--out", type=Path, required=True, help="the folder for the copies and their manifest")
    parser.add_class_arguments(CopyOptions)
    parser.add_argument("--workers", type=int | None, help="number of processes (default: one a core)")
    parser.add_argument("--timeout", type=float, default=1800.0, help="seconds after which a video is given up")
    args = parser.parse_args()
    try:
        options = CopyOptions(args.short_side, args.fps, args.gop, args.crf, args.audio_rate, args.region)
        prepared = prepare(open_manifest(args.source), args.out, options, args.workers, args.timeout)
    except (MediaError, OSError, ValueError) as error:
        sys.exit(f"prepare.py: {error}")
    print(f"{prepared}\n{summarise(prepared.manifest)}\nwritten to {args.out}")


if __name__ == "__main__":
    main()
