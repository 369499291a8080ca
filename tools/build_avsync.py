"""Build a sync dataset: clips whose sound is where it belongs, and a reason for everything that was left out.

For example: ``python tools/build_avsync.py ../shared/data/talking_faces -o dataset --cut.seconds=1``, then
``--data.root=dataset/train.parquet``. Sources are only read. Run the same command again to go on after a stop.
"""

from __future__ import annotations

import sys
from pathlib import Path

from jsonargparse import ArgumentParser

from avssl.avsync.builder import build
from avssl.avsync.executors import Execution, open_executor, parse_share
from avssl.avsync.options import Options
from avssl.media import MediaError


def main() -> None:
    """Parse the command line, build, say what came of it."""
    parser = ArgumentParser(prog="build_avsync.py", description=__doc__, allow_abbrev=False)
    parser.add_argument("sources", type=Path, nargs="+", help="folders, files or manifests (.parquet)")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder of the dataset")
    parser.add_class_arguments(Options)
    parser.add_argument(
        "--labels", default="auto", help="auto, folders, none, or a CSV with columns path,label[,group]"
    )
    parser.add_argument("--group", type=str | None, help="regular expression for what must not be split, in the path")
    parser.add_argument("--workers", type=int | None, help="number of processes (default: one a core)")
    parser.add_argument("--timeout", type=float, default=3600.0, help="seconds after which a source is given up")
    parser.add_argument("--executor", type=str | None, help="dask://HOST:PORT, to work on a Dask cluster")
    parser.add_argument(
        "--shard", type=str | None, help="I/N: do share I of N and pack nothing; run once without after"
    )
    parser.add_argument("--retry-failed", action="store_true", help="try again what was rejected before")
    args = parser.parse_args()
    options = parser.instantiate(args)
    try:
        with open_executor(args.executor) as executor:
            execution = Execution(args.workers, args.timeout, executor, parse_share(args.shard), args.retry_failed)
            chosen = Options(**{name: options[name] for name in Options.__dataclass_fields__})
            print(build(args.sources, args.out, chosen, execution, args.labels, args.group))
    except (MediaError, OSError, ValueError) as error:
        sys.exit(f"build_avsync.py: {error}")


if __name__ == "__main__":
    main()
