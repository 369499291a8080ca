"""Parts shared by the audits of single cues: a config's method with its clips, and cells of tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from avssl.catalog.index import open_manifest
from avssl.data.dataset import ClipDataset
from avssl.methods import Method
from avssl.runtime.configs import find_config
from avssl.training.config import parse


def method_and_clips(config: str, changes: Sequence[str], roots: Sequence[Path]) -> tuple[Method, ClipDataset]:
    """Return the method of a config with overrides, and the clips that it is shown of collections; none is held out."""
    parser, config_of_run = parse([str(find_config(config)), *changes])
    built = parser.instantiate(config_of_run)
    return built.method, ClipDataset(open_manifest(roots), built.method.sampler, built.data.transform)


def mean_and_error(values: Tensor) -> str:
    """Return the mean of ``[N]`` values and its standard error."""
    return f"{values.mean():.3f} ± {values.std() / len(values) ** 0.5:.3f}"
