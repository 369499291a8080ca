"""Recomputing blocks in the backward pass (activation checkpointing), and compiling them.

T. Chen et al.: Training Deep Nets with Sublinear Memory Cost. 2016. https://arxiv.org/abs/1604.06174
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager as ContextManager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from avssl.encoders.blocks import blocks
from avssl.methods import Method
from avssl.recipe.recipe import Compiled


def recompute_blocks(encoder: nn.Module) -> None:
    """Make an encoder keep only what its blocks are given, and compute the rest again in the backward pass.

    Results, random numbers (dropout), running statistics and names of weights are the same. Blocks with batch
    normalisation are then not compiled.

    Raises:
        ValueError: if the encoder has no blocks.
    """
    for block in blocks(encoder):
        block.forward = partial(_recomputed, block, block.forward)


def compile_parts(method: Method, what: Compiled) -> None:
    """Compile each block of the encoder, or the method's whole forward pass, when it is first used.

    Blocks are compiled one by one because methods enter an encoder in several ways; blocks of one kind share the
    compiled code. Names of weights stay the same.

    Raises:
        ValueError: if the encoder has no blocks.
    """
    for part in blocks(method.encoder) if what == "encoder" else [method]:
        part.compile()


def _recomputed(block: nn.Module, forward: Callable[..., Any], *args: Any, **options: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **options)
    norms = [layer for layer in block.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats]
    if norms:
        return _with_norms(norms, forward, *args, **options)
    return checkpoint(forward, *args, use_reentrant=False, **options)


@torch.compiler.disable
def _with_norms(norms: list[_BatchNorm], forward: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Recompute a block, but its running statistics; torch.compile takes no ``context_fn`` of this kind."""
    return checkpoint(forward, *args, use_reentrant=False, context_fn=partial(_contexts, norms), **options)


def _contexts(norms: list[_BatchNorm]) -> tuple[ContextManager[None], ContextManager[None]]:
    """Return what surrounds the forward pass, and what surrounds its repetition."""
    return contextlib.nullcontext(), _seen(norms)


@contextlib.contextmanager
def _seen(norms: list[_BatchNorm]) -> Iterator[None]:
    """Keep layers from taking the same batch into their running statistics, and counting it, twice."""
    kept = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, momentum, count in kept:
            norm.momentum, norm.num_batches_tracked = momentum, count
