"""Judge the encoder of a run by transfer to labelled videos.

python tools/evaluate.py configs/eval/ut_interaction.yaml --run=runs/shuffle_learn
python tools/evaluate.py configs/eval/folder.yaml --data.root=VIDEOS --run=runs/shuffle_learn
"""

from __future__ import annotations

import sys

from avssl.evaluation.config import parse, parser
from avssl.evaluation.report import print_results
from avssl.evaluation.run import evaluate
from avssl.media import MediaError


def main() -> None:
    """Parse, evaluate, print."""
    try:
        protocol, args = parse(parser(__doc__), sys.argv[1:])
        results = evaluate(protocol, args.run, args.machine)
    except (MediaError, FileNotFoundError, ValueError) as error:
        raise SystemExit(f"error: {error}") from error
    print_results(results)
    print(args.run / "eval" / protocol.name / "results.json")


if __name__ == "__main__":
    main()
