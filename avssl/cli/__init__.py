"""The ``avssl`` command: parse, build, call, print.

Each command is a module with a function `parser`, which describes it, and a function `run`, which carries it out. Only
the called command's module is imported.

>>> from avssl.cli import main
>>> main(["--version"])  # doctest: +ELLIPSIS
avssl ...
0
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Sequence

import avssl

COMMANDS = {
    "train": "train an encoder on unlabelled videos",
    "show": "draw a method's inputs and targets, or what a trained run predicts",
    "index": "measure a folder of videos and write its manifest",
    "prepare": "make training-ready copies of videos, which decode several times faster",
    "evaluate": "evaluate a run's encoder by transfer to labelled videos",
    "images": "evaluate a run's frame encoder on labelled images",
    "audio": "evaluate a run's audio encoder on labelled sounds",
    "synchrony": "measure how well a run finds audio-visual offsets on videos in sync",
    "table": "compare runs under one protocol in a table or picture",
    "features": "write an encoder's features of a collection to files for other programs",
    "anomaly": "find what is odd among videos, by what is normal",
    "cluster": "group the videos of a collection without labels, and find near duplicates",
    "fewshot": "classify videos from one or five labelled videos per class",
    "embed": "draw a map of an encoder's features, and nearest neighbours",
    "advise": "find out what self-supervision is worth on your videos",
    "fit": "make a classifier of labelled videos",
    "predict": "label videos with a classifier",
    "compare": "compare runs over several protocols: what predicts transfer, and what pretraining is worth",
    "robustness": "measure how classifiers stand wrong labels, damage, attacks and strange classes",
    "export": "copy a run's encoder into a folder of its own",
    "sync": "find out whether the sound of a video is early or late",
    "spatial": "give the sound of a panorama directions",
    "splice": "find what in a picture or video was put there from another one",
    "build": "build an audio-visual sync dataset from raw recordings",
    "study": "pretrain and evaluate every method of a plan, and tabulate the results",
    "configs": "list the packaged configs, or print one",
    "synthetic": "render the synthetic audio-visual world with known ground truth",
    "new-method": "write the skeleton of a new pretext task into a clone",
}
USAGE = "usage: avssl COMMAND ...\n\nVideo and audio-visual self-supervised learning.\n\ncommands:\n{}\n\n{}"
HINT = (
    "avssl COMMAND --help explains a command; AVSSL_DEBUG=1 shows the traceback of an error.\n"
    "With any command, --stores s3://bucket names a store to read from, and --cache DIR keeps copies of objects."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: the words after ``avssl``; by default those of this process.

    Returns:
        The exit status: 0, 2 after wrong input (one line on standard error says what), 75 if a training was asked to
        stop and can resume, 130 after Ctrl-C.
    """
    name, *words = [*(sys.argv[1:] if arguments is None else arguments)] or ["--help"]
    if name in ("-h", "--help"):
        print(USAGE.format("\n".join(f"  {command:<12}{line}" for command, line in COMMANDS.items()), HINT))
        return 0
    if name == "--version":
        print(f"avssl {avssl.__version__}")
        return 0
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        return _fail(f"avssl has no command {name!r}; {f'did you mean {near[0]!r}?' if near else 'see avssl --help'}")
    try:
        words = _name_stores(words)
        importlib.import_module(f"avssl.cli.{name.replace('-', '_')}").run(words)
    except KeyboardInterrupt:
        return _interrupted()
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):  # Lightning turns Ctrl-C into an exit
            return _interrupted()
        return _fail(stop.code.removeprefix("error: ")) if isinstance(stop.code, str) else int(stop.code or 0)
    except Exception as error:
        from avssl.media import MediaError

        if os.environ.get("AVSSL_DEBUG") or not isinstance(error, (MediaError, OSError, ValueError, ImportError)):
            raise
        return _fail(str(error))
    return 0


def _name_stores(words: Sequence[str]) -> list[str]:
    """Take ``--stores STORE`` and ``--cache DIR`` out of the words of any command, and make them this process's."""
    found: dict[str, list[str]] = {"--stores": [], "--cache": []}
    kept, waiting = [], iter(words)
    for word in waiting:
        option, equals, value = word.partition("=")
        if option not in found:
            kept.append(word)
            continue
        found[option].append(value if equals else next(waiting, ""))
        if not found[option][-1]:
            raise ValueError(f"{option}: expected a value")
    if any(found.values()):
        from avssl.media.stores import name_stores, parse_stores

        name_stores(parse_stores(found["--stores"]), found["--cache"][-1] if found["--cache"] else None)
    return kept


def _fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2


def _interrupted() -> int:
    print("interrupted", file=sys.stderr)
    return 130
