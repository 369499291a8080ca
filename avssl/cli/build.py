"""``avssl build``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from avssl.avsync.builder import build
from avssl.avsync.calibrating import calibrate
from avssl.avsync.executors import Execution
from avssl.avsync.options import Options
from avssl.runtime.executors import open_executor, parse_share
from avssl.runtime.parser import Parser


def parser() -> Parser:
    """Return the parser of ``avssl build``."""
    made = Parser(
        prog="avssl build",
        description="Build an audio-visual sync dataset: clips whose sound is aligned to a millisecond, and a reason"
        " for everything that was left out. Sources are only read. Run the same command again to resume.",
        examples=[
            "avssl build RECORDINGS -o dataset --cut.seconds=1",
            "avssl train CONFIG --data.root=dataset/train.parquet",
        ],
    )
    made.add_argument("sources", type=Path, nargs="+", help="folders, files or manifests (.parquet)")
    made.add_argument("-o", "--out", type=Path, required=True, help="folder of the dataset")
    made.add_class_arguments(Options)
    made.add_argument("--labels", default="auto", help="auto, folders, none, or a CSV with columns path,label[,group]")
    made.add_argument(
        "--group", type=str | None, help="regular expression that finds in the path what must not be split"
    )
    made.add_argument(
        "--metadata",
        type=Path | None,
        help="table about the sources (CSV, TSV, JSON lines, Parquet; column path): licence, speaker, language ...,"
        " carried through as text; a speaker is on one side of the split",
    )
    made.add_argument("--workers", type=int | None, help="number of processes (default: one per core)")
    made.add_argument("--timeout", type=float, default=3600.0, help="seconds after which a source is given up")
    made.add_argument("--executor", type=str | None, help="dask://HOST:PORT, to work on a Dask cluster")
    made.add_argument(
        "--shard", type=str | None, help="I/N: do share I of N and pack nothing; run once more without it at the end"
    )
    made.add_argument(
        "--calibrate",
        action="store_true",
        help="build nothing; measure what the estimator's confidence means on these recordings, which are in sync",
    )
    made.add_argument("--retry-failed", action="store_true", help="try rejected sources again")
    return made


def run(words: Sequence[str]) -> None:
    """Build, and print the summary."""
    made = parser()
    args = made.parse_args(words)
    options = made.instantiate(args)
    with open_executor(args.executor) as executor:
        execution = Execution(args.workers, args.timeout, executor, parse_share(args.shard), args.retry_failed)
        chosen = Options(**{name: options[name] for name in Options.__dataclass_fields__})
        common = (args.sources, args.out, chosen, execution, args.labels, args.group)
        print(calibrate(*common) if args.calibrate else build(*common, metadata=args.metadata))
