"""``avssl spatial``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from avssl.applications.spatial import spatialise
from avssl.runtime.parser import Parser


def parser() -> Parser:
    """Return the parser of ``avssl spatial``."""
    made = Parser(
        prog="avssl spatial",
        description="Give the sound of a panorama (360 degrees, equirectangular) directions: predict first-order "
        "ambisonics from its mono sound and its pictures, and draw where the sound comes from. If the recording has "
        "four channels or more, the first four are taken for W, Y, Z and X, and the prediction is measured by them.",
        examples=["avssl spatial VIDEO --run=runs/spatial_audio -o spatial"],
    )
    made.add_argument("video", type=Path, help="recording with sound")
    made.add_argument("--run", type=Path, required=True, help="run of spatial_audio")
    made.add_argument("-o", "--out", type=Path, required=True, help="folder to write")
    return made


def run(words: Sequence[str]) -> None:
    """Predict, write, and print the files and, if they can be known, the errors."""
    args = parser().parse_args(words)
    result = spatialise(args.video, args.run, args.out)
    if result.errors is not None and result.ahead is not None:
        table = Table("", "predicted", "all from ahead", "nothing known")
        rows = [("STFT error", "stft", "1.00"), ("envelope error", "envelope", "1.00")]
        for name, key, chance in [*rows, ("angle (degrees)", "angle", "90"), ("energy moved (degrees)", "emd", "")]:
            table.add_row(name, *(f"{getattr(part, key):.2f}" for part in (result.errors, result.ahead)), chance)
        Console().print(table)
    print(result.sound)
    print(result.picture)
