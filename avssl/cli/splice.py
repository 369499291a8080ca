"""``avssl splice``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from avssl.applications.splice.finding import find_splice
from avssl.runtime.parser import Parser


def parser() -> Parser:
    """Return the parser of ``avssl splice``."""
    made = Parser(
        prog="avssl splice",
        description="Find what in a picture or a video was put there from another one: compare all patches of a frame, "
        "and draw those that were not taken, processed or stored as most are.",
        examples=[
            "avssl splice PHOTO.jpg --run=runs/camera_consistency -o splice",
            "avssl splice VIDEO --run=runs/camera_consistency --every=1 --merge=cut -o splice",
        ],
    )
    made.add_argument("path", type=Path, help="picture or video", metavar="IMAGE|VIDEO")
    made.add_argument("--run", type=Path, required=True, help="run of camera_consistency")
    made.add_argument("-o", "--out", type=Path, required=True, help="folder to write")
    made.add_function_arguments(find_splice, skip={"path", "run", "folder"})
    return made


def run(words: Sequence[str]) -> None:
    """Score, write, and print the scores and the files."""
    args = parser().parse_args(words)
    result = find_splice(args.path, args.run, args.out, args.merge, args.stride, args.every, args.most)
    when = "" if len(result.frames) == 1 else f", highest of {len(result.frames)} frames, at {result.seconds:.2f} s"
    print(f"score {result.score:.3f}{when}: the mean share of pairs of patches that are not of one camera")
    print(args.out / "splice.json")
    print(result.picture)
