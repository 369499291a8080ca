"""Pictures of an embedding: a map of all videos coloured by class, and sheets of nearest neighbours.

    python tools/embed.py configs/eval/ut_interaction.yaml --run=runs/shuffle_learn --method=tsne

The pictures go next to the results: ``<run>/eval/<protocol>/``.
"""

from __future__ import annotations

import sys
from typing import Literal

from avssl.evaluation.config import parse, parser
from avssl.evaluation.embedding import embed
from avssl.media import MediaError


def main() -> None:
    """Parse, draw."""
    made = parser(__doc__)
    made.add_argument("--method", type=Literal["pca", "tsne"], default="tsne", help="how the map is made")
    made.add_argument("--queries", type=int, default=2, help="videos of each class on the sheet of neighbours")
    try:
        protocol, args = parse(made, sys.argv[1:])
        folder = args.run / "eval" / protocol.name
        for path in embed(protocol, args.run, folder, args.machine, args.method, args.queries):
            print(path)
    except (MediaError, FileNotFoundError, ValueError) as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
