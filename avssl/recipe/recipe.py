"""What a run's config says of learning rates, decay, averages and memory, beside optimiser, schedule and warm-up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from avssl.recipe.lengths import check_length
from avssl.runtime.checks import check_ranges

Compiled = Literal["encoder", "method"]
Momentum = Literal["cosine", "linear", "constant"]


@dataclass(frozen=True)
class Recipe:
    """The details of training; the defaults change nothing.

    A length is a share of the run, a number of epochs such as ``40 epochs``, or of steps such as ``12000 steps``.

    Args:
        lr_per: number of videos per step for which the learning rates are meant (``lr_start`` and ``lr_end`` too): with
            B videos per step they are multiplied by B / lr_per (Goyal et al., arXiv:1706.02677, section 2.1).
        lr_start: learning rate from which the warm-up rises.
        lr_end: learning rate to which ``schedule: cosine`` or ``linear`` falls.
        lr_steps: for ``schedule: step``, lengths from the start after which the learning rate is multiplied by
            ``lr_factor``.
        lr_factor: see ``lr_steps``.
        stretch: learning rate, weight decay and momentum follow the schedules of a run this many times as long, cut off
            at the end of this one (V-JEPA, TMLR 2024, appendix: 1.25).
        layer_decay: learning rate of a block of the encoder relative to the block above it (BEiT: Bao et al., ICLR
            2022; VideoMAE fine-tunes with 0.7 to 0.75). What lies above the blocks, and all outside the encoder, has
            the full rate.
        decay_vectors: whether weight decay holds for norms, biases and other parameters with one axis, tokens and
            position embeddings too.
        decay_end: weight decay at the end, to which the optimiser's goes along half a cosine.
        ema: how the momentum of a method's momentum encoders goes from the method's own to ``ema_end``: along half a
            cosine, linearly, or not at all.
        ema_end: see ``ema``.
        clip_after_warmup: whether ``trainer.gradient_clip_val`` holds only after the warm-up.
        accumulate: forward passes per step, whose gradients are averaged; ``data.batch_size`` counts the videos of one.
        average: momentum of an exponential average of the weights, which is exported instead of the last ones; those
            are kept in ``<part>_raw``.
        checkpoint_activations: recompute the encoder's blocks in the backward pass instead of keeping what they
            computed: less memory, about a third more time, the same result.
        compile: what `torch.compile` compiles: each block of the encoder, or the method's whole forward pass.
    """

    lr_per: int | None = None
    lr_start: float = 0.0
    lr_end: float = 0.0
    lr_steps: tuple[float | str, ...] = ()
    lr_factor: float = 0.1
    stretch: float = 1.0
    layer_decay: float | None = None
    decay_vectors: bool = True
    decay_end: float | None = None
    ema: Momentum = "cosine"
    ema_end: float = 1.0
    clip_after_warmup: bool = False
    accumulate: int = 1
    average: float | None = None
    checkpoint_activations: bool = False
    compile: Compiled | None = None

    def __post_init__(self) -> None:
        check_ranges(
            "recipe",
            self,
            lr_per="[1, inf)",
            lr_start="[0, inf)",
            lr_end="[0, inf)",
            lr_factor="(0, inf)",
            stretch="[1, inf)",
            layer_decay="(0, 1]",
            decay_end="[0, inf)",
            ema_end="[0, 1]",
            accumulate="[1, inf)",
            average="(0, 1)",
        )
        for length in self.lr_steps:
            check_length("recipe.lr_steps", length)

    @property
    def schedules_momentum(self) -> bool:
        """Whether momentum encoders follow another schedule than their own."""
        return (self.ema, self.ema_end, self.stretch) != ("cosine", 1.0, 1.0)


PLAIN = Recipe()
