"""Judge the frame encoder of a run on images.

python tools/evaluate_images.py stages TRAIN TEST --run=runs/rotnet
python tools/evaluate_images.py svm VOC2007 VOC2007 --run=runs/rotnet
python tools/evaluate_images.py svm TRAIN TEST --labels=labels.csv --run=runs/rotnet
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from jsonargparse import ArgumentParser

from avssl.evaluation.images import stages, svm
from avssl.evaluation.report import print_results
from avssl.evaluation.results import Results
from avssl.media import MediaError


def main() -> None:
    """Parse, evaluate, print."""
    parser = ArgumentParser(description=__doc__, allow_abbrev=False)
    commands = parser.add_subcommands(dest="what")
    protocols: dict[str, Callable[..., Results]] = {"stages": stages, "svm": svm}
    for name, protocol in protocols.items():
        part = ArgumentParser(description=protocol.__doc__, allow_abbrev=False)
        part.add_argument("train", type=Path, help="images to train on")
        part.add_argument("test", type=Path, help="images to test on")
        part.add_function_arguments(protocol, skip={"train", "test"})
        commands.add_subcommand(name, part)
    built = parser.instantiate(parser.parse_args())
    try:
        results = protocols[built.what](**built[built.what])
    except (MediaError, FileNotFoundError, ValueError) as error:
        raise SystemExit(f"error: {error}") from error
    print_results(results)
    print(built[built.what].run / "eval" / results.protocol["name"] / "results.json")


if __name__ == "__main__":
    main()
