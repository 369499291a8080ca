"""A model card: what an exported encoder was trained on, how its input looks, and what it reached.

In the form of Hugging Face's hub: Markdown below a block of YAML (M. Mitchell et al.: Model Cards for Model Reporting.
FAT* 2019, says what belongs on one). Only what the card of the encoder and the run's files say is written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from avssl.encoders import Encoder
from avssl.encoders.exchange import Format, torchvision_name
from avssl.encoders.shapes import Shape, described, shape_of
from avssl.evaluation.report import cell, chance_level, markdown, scores
from avssl.evaluation.results import Results, Score

CARD = "README.md"
LIBRARIES = {"avssl": "avssl", "torchvision": "torchvision", "huggingface": "transformers", "onnx": "onnx"}
CLIPS = "clips [B, T, 3, H, W]: pixels in [0, 1], less the mean, over the standard deviation"


def model_card(
    encoder: Encoder, run: str | Path, name: str, written: Mapping[Format, Sequence[Path]], shape: Shape
) -> str:
    """Return the content of the README.md beside an export.

    Args:
        encoder: the exported encoder with its card.
        run: run folder, whose ``eval/*/results.json`` and ``held_out.json`` are told if they exist.
        name: title.
        written: the files of each format.
        shape: the clips that graphs take.
    """
    card, run = encoder.card, Path(run)
    results = [Results.read(path) for path in sorted(run.glob("eval/*/results.json"))]
    library = next((LIBRARIES[to] for to in written if to in LIBRARIES), "pytorch")
    tags = ["video", "self-supervised-learning", "avssl", str(card.get("method", ""))]
    head: dict[str, Any] = {"library_name": library, "pipeline_tag": "feature-extraction"}
    head["tags"] = [tag for tag in dict.fromkeys(tags) if tag]
    if results:
        head["model-index"] = [{"name": name, "results": [_indexed(result) for result in results]}]
    front = yaml.safe_dump(head, sort_keys=False, allow_unicode=True)
    words = {"network": torchvision_name(encoder), "shape": f"{shape.frames}, 3, {shape.height}, {shape.width}"}
    parts = [
        f"---\n{front}---\n\n# {name}\n",
        f"An encoder of video without a classifier: {described(encoder)}, {parameters(encoder)} parameters, "
        f"{encoder.num_features} features per clip.\n",
        "## Use\n",
        *(USES[to].format(file=_file(files), **words) for to, files in written.items()),
        "## Input\n",
        *input_lines(encoder),
        "## Training\n",
        *training_lines(card),
        *_results(results, run),
        "## Versions\n",
        markdown(["package", "version"], [[name, str(value)] for name, value in card.get("versions", {}).items()]),
    ]
    return "\n".join(parts)


USES = {
    "avssl": "```python\nimport avssl\n\nencoder = avssl.load_encoder('.')  # {file}; encoder.card is what this page "
    "tells\nfeatures = encoder(clips)  # [B, D]\n```\n",
    "torchvision": "```python\nimport torchvision\nfrom safetensors.torch import load_file\n\nnetwork = torchvision."
    "models.get_model('{network}')\nnetwork.load_state_dict(load_file('{file}'), strict=False)  # only the classifier "
    "is missing\n```\n",
    "huggingface": "```python\nfrom transformers import AutoModel\n\nmodel = AutoModel.from_pretrained('.')  # {file}\n"
    "tokens = model(clips).last_hidden_state  # [B, L, D]; their mean is avssl's feature\n```\n",
    "onnx": "```python\nimport onnxruntime\n\nsession = onnxruntime.InferenceSession('{file}')\n(features,) = session."
    "run(None, {{'clips': clips}})  # clips [B, {shape}], any B; float32 [B, D]\n```\n",
    "torch-export": "```python\nimport torch\n\nencoder = torch.export.load('{file}').module()\nfeatures = "
    "encoder(clips)  # [B, D] of clips [B, {shape}], any B\n```\n",
}


def parameters(encoder: Encoder) -> str:
    """Return the number of parameters with separators."""
    return f"{sum(each.numel() for each in encoder.parameters()):,}"


def _file(files: Sequence[Path]) -> str:
    named = [path.name for path in files if path.suffix in (".safetensors", ".onnx", ".pt2")]
    return named[0]


def input_lines(encoder: Encoder) -> list[str]:
    """Say what clips an encoder takes."""
    card, shape = encoder.card, shape_of(encoder)
    clip = card.get("clip", {})
    told = f", {clip['step']:g} s between frames" if clip.get("step") else ""
    lines = [
        f"- {CLIPS}; torchvision's networks take [B, 3, T, H, W] or single frames [B, 3, H, W]",
        f"- in training T = {shape.frames}{told}, H x W = {shape.height} x {shape.width}",
        f"- mean {_numbers(card['mean'])}, standard deviation {_numbers(card['std'])}",
    ]
    if encoder.config.get("differences"):
        lines.append(
            "- the network sees the differences between consecutive frames: the encoder and its graphs make them, "
            "torchvision's network is to be given them"
        )
    if type(encoder).__name__ == "GreyResNet":
        lines.append("- the network sees the mean of the three channels, which torchvision's is to be given")
    return ["\n".join(lines) + "\n"]


def training_lines(card: Mapping[str, Any]) -> list[str]:
    """Tabulate where an encoder's weights come from."""
    rows = [[word, str(card[key])] for key, word in TOLD.items() if key in card]
    if before := card.get("before"):
        rows.append(["began from", _origin(before)])
    if source := card.get("source"):
        rows.append(["weights of", _origin(source)])
    return [markdown(["", ""], rows)] if rows else ["Not trained by avssl.\n"]


TOLD = {"method": "method", "run": "run", "steps": "steps", "seed": "seed", "data": "fingerprint of the videos"}


def _origin(facts: Mapping[str, Any]) -> str:
    """Return facts about other weights in a line; a fact that is a mapping is told in brackets."""
    told = {key: f"({_origin(value)})" if isinstance(value, dict) else value for key, value in facts.items()}
    return ", ".join(f"{key} {value}" for key, value in told.items())


def _results(results: Sequence[Results], run: Path) -> list[str]:
    parts = []
    for result in results:
        rows = []
        random, scratch = scores(result, "random_init"), scores(result, "from_scratch")
        for name, score in scores(result, "pretrained").items():
            level = f"{chance_level(result, name):.3f}"
            rows.append([name, cell(score), cell(random.get(name)), cell(scratch.get(name)), level])
        headings = ["read-out", "this encoder", "random init", "from scratch", "chance"]
        title = f"Protocol {result.protocol['name']}, {result.protocol['videos']} recordings, 95 % intervals:\n"
        parts += [title, markdown(headings, rows)]
    if (held_out := run / "held_out.json").exists():
        rows = _pretext(json.loads(held_out.read_text())["metrics"])
        parts += ["Its own task on held-out videos:\n", markdown(["metric", "value", "chance"], rows)]
    return ["## Results\n", *parts] if parts else []


def _pretext(metrics: Mapping[str, Mapping[str, float]]) -> list[list[str]]:
    rows = []
    for name, value in metrics.items():
        if not name.startswith("chance/"):
            chance = metrics.get(f"chance/{name}")
            shown = cell(Score(value["mean"], (value["low"], value["high"])))
            rows.append([name, shown, f"{chance['mean']:.3f}" if chance else ""])
    return rows


def _indexed(result: Results) -> dict[str, Any]:
    """Return a result as the hub's index takes it."""
    name = result.protocol["name"]
    metrics = [
        {"type": "mean_average_precision" if "mAP" in read_out else "accuracy", "name": read_out, "value": score.value}
        for read_out, score in scores(result, "pretrained").items()
    ]
    return {"task": {"type": "video-classification"}, "dataset": {"name": name, "type": name}, "metrics": metrics}


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.6g}" for value in values)
