"""Judge the encoder of a run by transfer to labelled videos.

python tools/evaluate.py configs/eval/ut_interaction.yaml --run=runs/shuffle_learn
python tools/evaluate.py configs/eval/folder.yaml --data.root=VIDEOS --run=runs/shuffle_learn
"""

from __future__ import annotations

import sys
from pathlib import Path

from jsonargparse import ArgumentParser

from avssl.evaluation.features import Machine
from avssl.evaluation.protocol import Protocol
from avssl.evaluation.report import print_results
from avssl.evaluation.run import evaluate
from avssl.media import MediaError


def main() -> None:
    """Parse, evaluate, print."""
    words = sys.argv[1:]
    if words and not words[0].startswith("-"):
        words[0] = f"--config={words[0]}"
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--config", action="config", help="a YAML file; given as the first argument")
    parser.add_argument("--run", type=Path, required=True, help="run folder or export folder")
    parser.add_class_arguments(Protocol)
    parser.add_class_arguments(Machine, "machine")
    made = parser.instantiate(parser.parse_args(words))
    names = Protocol.__dataclass_fields__
    try:
        protocol = Protocol(**{name: made[name] for name in names})
        results = evaluate(protocol, made.run, made.machine)
    except (MediaError, FileNotFoundError, ValueError) as error:
        raise SystemExit(f"error: {error}") from error
    print_results(results)
    print(made.run / "eval" / protocol.name / "results.json")


if __name__ == "__main__":
    main()
