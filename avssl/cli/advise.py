"""``avssl advise``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from avssl.applications.advise.run import Advice, advise
from avssl.cli.index import parse_columns
from avssl.runtime.device import Machine
from avssl.runtime.parser import Parser


def parser() -> Parser:
    """Return the parser of ``avssl advise``."""
    made = Parser(
        prog="avssl advise",
        usage="avssl advise VIDEOS [--labels LIST] [--minutes=60] [--encoders=[RUN,...]] -o FOLDER",
        description="Find out what self-supervision is worth on your videos: look at them, benchmark what exists, try "
        "pretext tasks, continue the best, and report. If stopped, the same command goes on.",
        examples=[
            "avssl advise VIDEOS --minutes=60 -o advice",
            "avssl advise VIDEOS --labels few.csv --group 'seq[0-9]+' --encoders=[runs/lite0] -o advice",
        ],
    )
    made.add_argument("videos", type=Path, help="folder of videos, or a manifest")
    made.add_argument("-o", "--output", type=Path, required=True, help="folder to write; to go on, the one of before")
    made.add_argument(
        "--labels",
        action="append",
        help="a table path,label of a few videos; several times for several; folders: those of class folders; own: a "
        "manifest's own (default: none, whatever the folders are called)",
    )
    made.add_argument("--columns", type=str | None, help="its columns, as for avssl index: path=file,labels=class")
    made.add_argument("--group", type=str | None, help="regular expression in file names for what is not split")
    made.add_argument(
        "--minutes", type=float, default=60.0, help="time to spend, kept over interruptions (default: 60)"
    )
    made.add_argument("--encoders", type=list[Path], default=[], help="run or export folders of pretrained encoders")
    made.add_argument(
        "--tasks", type=list[str] | None, default=None, help="pretext tasks to choose from (default: all)"
    )
    made.add_argument("--faces", type=Path | None, default=None, help="a YuNet face detector (.onnx)")
    made.add_argument("--sync", type=Path | None, default=None, help="run folder of a synchroniser, for the sound")
    made.add_class_arguments(Machine, "machine")
    return made


def run(words: Sequence[str]) -> None:
    """Advise, and print where the report is."""
    made = parser()
    args = made.instantiate(made.parse_args(words))
    advice = Advice(
        videos=args.videos,
        folder=args.output,
        labels=tuple(args.labels or ()),
        columns=parse_columns(args.columns or ""),
        group=args.group,
        minutes=args.minutes,
        encoders=tuple(args.encoders),
        faces=args.faces,
        sync=args.sync,
        tasks=None if args.tasks is None else tuple(args.tasks),
        machine=args.machine,
    )
    print(advise(advice))
