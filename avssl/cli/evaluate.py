"""``avssl evaluate``."""

from __future__ import annotations

from collections.abc import Sequence

from avssl.evaluation import config
from avssl.evaluation.report import print_results
from avssl.evaluation.run import evaluate
from avssl.runtime.parser import Parser
from avssl.runtime.processes import joined, rank


def parser() -> Parser:
    """Return the parser of ``avssl evaluate``."""
    return config.parser(
        "Evaluate a run's encoder, or a pretrained one, by transfer to labelled videos: linear probe, kNN, retrieval, "
        "low-shot and fine-tuning. CONFIG is a YAML file or the name of a packaged config (avssl configs lists them).",
        examples=[
            "avssl evaluate ut_interaction --run=runs/shuffle_learn",
            "avssl evaluate folder --data.root=VIDEOS --run=runs/shuffle_learn",
            "avssl evaluate ut_interaction --run=runs/lite0 --encoder=avssl.encoders.Timm \\\n"
            "      --encoder.name=tf_efficientnet_lite0 --encoder.weights=lite0.safetensors",
        ],
    )


def run(words: Sequence[str]) -> None:
    """Evaluate, and print the results and their path."""
    protocol, args = config.parse(parser(), words)
    with joined():
        found = evaluate(protocol, args.run, args.machine, args.encoder, args.own_size)
        if rank() == 0:
            print_results(found)
            print(args.run / "eval" / protocol.name / "results.json")
