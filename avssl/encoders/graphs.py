"""Exports of an encoder as a graph that runs without avssl: ONNX, and torch.export's programs."""

from __future__ import annotations

import contextlib
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch.export import ExportedProgram

from avssl.encoders.base import Encoder
from avssl.encoders.shapes import Shape, described
from avssl.runtime.files import growing

CLIPS, FEATURES = "clips", "features"  # names of the input and the output


def traced(encoder: Encoder, shape: Shape) -> ExportedProgram:
    """Return the program that maps normalised clips ``[B, T, 3, H, W]`` to features ``[B, D]`` for any B.

    Raises:
        ValueError: if the encoder does not take clips of this shape, or decides by values what it computes.
    """
    frames, height, width = shape
    example = torch.zeros(2, frames, 3, height, width, device=next(encoder.parameters()).device)
    batch = torch.export.Dim("batch", min=1)
    try:
        with quiet(), torch.no_grad():
            return torch.export.export(encoder.eval(), (example,), dynamic_shapes=({0: batch},))
    except (RuntimeError, torch._dynamo.exc.TorchDynamoException) as error:
        raise ValueError(
            f"{described(encoder)} can't be traced for clips of {frames} frames of {height} x {width}: "
            f"{str(error).strip().splitlines()[0]}"
        ) from error


def write_program(encoder: Encoder, folder: Path, shape: Shape) -> list[Path]:
    """Write ``encoder.pt2``, for ``torch.export.load(path).module()``."""
    told = {"card.json": json.dumps(encoder.card)}
    path = folder / "encoder.pt2"
    with growing(path) as partial, quiet(), open(partial, "wb") as file:
        torch.export.save(traced(encoder, shape), file, extra_files=told)
    return [path]


def write_onnx(encoder: Encoder, folder: Path, shape: Shape) -> list[Path]:
    """Write ``encoder.onnx``, and ``encoder.onnx.data`` beside it for weights that don't fit into one file (2 GB)."""
    try:
        import onnxscript  # noqa: F401 - torch needs it, and says so less clearly
    except ImportError as error:
        raise ImportError("export for onnx needs the packages of avssl[onnx]: pip install 'avssl[onnx]'") from error
    path = folder / "encoder.onnx"
    with quiet():
        program = torch.onnx.export(
            traced(encoder, shape), dynamo=True, verbose=False, input_names=[CLIPS], output_names=[FEATURES]
        )
        assert program is not None
        program.model.metadata_props["card"] = json.dumps(encoder.card)
        program.save(path)
    return sorted(folder.glob("encoder.onnx*"))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporters' notes about themselves out of the user's terminal."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "torch.export")]
    levels = [each.level for each in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for each in loggers:
            each.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for each, level in zip(loggers, levels, strict=True):
                each.setLevel(level)
