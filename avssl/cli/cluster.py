"""``avssl cluster``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from avssl.applications.cluster.clustering import cluster_videos, print_clusters
from avssl.evaluation import given
from avssl.runtime.parser import Parser


def parser() -> Parser:
    """Return the parser of ``avssl cluster``."""
    made = Parser(
        prog="avssl cluster",
        description="Group the videos of a collection by the features of runs, draw a contact sheet per cluster, and "
        "find near duplicates. Labels are not needed; where there are some, clusters are compared with them.",
        examples=[
            "avssl cluster VIDEOS --run=runs/simclr -o clusters",
            "avssl cluster VIDEOS --run runs/simclr runs/deep_cluster -o clusters --clusters=6 --how=spectral",
            "avssl index VIDEOS -o videos.parquet --labels clusters/groups.csv",
        ],
    )
    made.add_argument("videos", type=Path, help="folder or manifest")
    made.add_argument("--run", type=Path, required=True, nargs="+", help="run or export folders")
    made.add_argument("-o", "--out", type=Path, required=True, help="folder of the results")
    made.add_function_arguments(cluster_videos, skip={"videos", "runs", "out"})
    return made


def run(words: Sequence[str]) -> None:
    """Cluster, and print the scores and the files' paths."""
    made = parser()
    given.begin()
    args = made.instantiate(made.parse_args(list(words)))
    options = {name: args[name] for name in args.keys() if name not in ("videos", "run", "out")}  # noqa: SIM118
    print_clusters(cluster_videos(args.videos, args.run, args.out, **options))
    for name in ("cluster.json", "clusters.csv", "groups.csv", "cluster.png", "index.html"):
        print(args.out / name)
