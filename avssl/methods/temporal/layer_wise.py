"""Greedy layer-wise pretraining: one layer after the other, then all together.

G. E. Hinton, R. R. Salakhutdinov: Reducing the Dimensionality of Data with Neural Networks. Science 2006; Y. Bengio,
P. Lamblin, D. Popovici, H. Larochelle: Greedy Layer-Wise Training of Deep Networks. NIPS 2006.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from avssl.clips import Clips
from avssl.data.samplers import RandomClips
from avssl.encoders.volumes import NUMBERS, VolumeStack
from avssl.methods.base import Method, measured
from avssl.methods.counters import HostNumber
from avssl.methods.losses import nearer, squared_distances

Kind = Literal["rbm", "autoencoder", "supervised", "none"]


class LayerWise(Method):
    """Train the layers of a `VolumeStack` greedily, then all of them as one auto-encoder of volumes.

    During the first ``greedy`` of a run each layer has a loss of its own, which does not reach the layers below:

    - ``rbm``: contrastive divergence with one step (CD-1). A restricted Boltzmann machine has the free energy F(v) = -b
      v - sum softplus(W v + c), or ½|v - b|² in place of -b v where v are pixels; the gradient is that of F(v0) -
      F(v1), where v1 is what the machine makes of a sample of its hidden units. For linear hidden units (the code) the
      last term is -½ sum (W v + c)²; ReLUs are sampled with Gaussian noise (Nair & Hinton, ICML 2010).
    - ``autoencoder``: the squared error of its input, decoded by the transposed weights.
    - ``supervised``: the class, by a linear layer over it (Bengio et al., section 4).
    - ``none``: there is no greedy part.

    Layer k's turn is the k-th equal part of this time. Layers below it are finished and stand still; those above have
    begun to learn of what passes through to them, which changes nothing below, since losses don't reach down. (The
    papers leave layers above untouched until their turn: parameters without a gradient would not fit methods here.)
    From then on the loss is the squared error of the unrolled auto-encoder, whose decoder has the transposed weights.
    (The paper unties them.)

    Metric: ``same_video``, whether a clip's code, the mean over its volumes, is nearer to that of another clip of the
    same video than to one of another video; chance is 1/2. The ``loss`` that is logged is a
    squared error per pixel or unit, of ``rbm`` too, whose gradient is another; of ``supervised`` it is a cross-entropy
    until all layers are trained together.

    Args:
        encoder: the layers.
        kind: see above.
        greedy: share of the run for the greedy part.
        classes: number of classes, for ``supervised``.
    """

    encoder: VolumeStack
    caption = "the volumes themselves"

    def __init__(
        self,
        encoder: VolumeStack,
        sampler: RandomClips | None = None,
        kind: Kind = "rbm",
        greedy: float = 0.5,
        classes: int | None = None,
    ) -> None:
        super().__init__(encoder, sampler or RandomClips(clips=2, num_frames=4, step=0.08))
        if not isinstance(encoder, VolumeStack):
            raise ValueError(f"LayerWise needs a VolumeStack, got {type(encoder).__name__}")
        if (kind == "supervised") != (classes is not None):
            raise ValueError(f"LayerWise: kind is {kind!r} and classes {classes}: classes belong to supervised, alone")
        if not 0 <= greedy < 1:
            raise ValueError(f"LayerWise: greedy is {greedy}: expected a share in [0, 1)")
        self.kind, self.uses_labels = kind, kind == "supervised"
        self.greedy = 0.0 if kind == "none" else greedy
        widths = [int(bias.numel()) for bias in (layer.bias for layer in encoder.layers) if isinstance(bias, Tensor)]
        inputs = [NUMBERS, *widths[:-1]]
        self.below = nn.ParameterList(nn.Parameter(torch.zeros(size)) for size in inputs)  # b, of what comes in
        self.heads = nn.ModuleList(nn.Linear(width, classes) for width in widths) if classes else None
        depth = len(encoder.layers)
        self.stage = HostNumber(self, "turn", depth if self.greedy == 0 else 0)  # the layer whose turn it is

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and metric over B videos of N clips."""
        with torch.autocast(clips.video.device.type, enabled=False):  # sums of thousands of small numbers
            return self._forward(clips)

    def _forward(self, clips: Clips) -> dict[str, Tensor]:
        volumes = self.encoder.volumes(clips.video.flatten(0, 1))  # [B N, t, h, w, 1024]
        places = volumes.shape[1:-1].numel()
        inputs = volumes.flatten(0, 3)  # [M, 1024]
        depth, turn = len(self.encoder.layers), int(self.stage.value)
        values, losses = inputs, []
        for layer in range(depth):
            if layer >= turn:
                losses.append(self._greedy(values, layer, clips, places))
            values = self.encoder.passed(values, layer)
            values = values if turn == depth else values.detach()
        loss = torch.stack(losses).sum() if losses else functional.mse_loss(self._decoded(values), inputs)
        codes = values.detach().unflatten(0, (-1, places)).mean(1)  # [B N, D]
        return measured(clips, loss, same_video=(same_video(codes, clips.video.shape[1]), 0.5))

    def after_step(self, progress: float) -> None:
        """Give the turn to the next layer, or to all."""
        depth = len(self.encoder.layers)
        self.stage.set(depth if progress >= self.greedy else int(progress / self.greedy * depth))

    def reconstructed(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """Return volumes of clips ``[B, T, 3, H, W]``, ``[M, 1024]``, and what they are decoded to."""
        inputs = self.encoder.volumes(clips).flatten(0, 3)
        values = inputs
        for layer in range(len(self.encoder.layers)):
            values = self.encoder.passed(values, layer)
        return inputs, self._decoded(values)

    def _decoded(self, values: Tensor) -> Tensor:
        for layer in reversed(range(len(self.encoder.layers))):
            values = self._down(values, layer)
        return values

    def _down(self, hidden: Tensor, layer: int) -> Tensor:
        """Return what a layer makes of its outputs: means of its inputs."""
        weights: Tensor = self.encoder.layers[layer].weight  # type: ignore[assignment]
        found = functional.linear(hidden, weights.T, self.below[layer])
        if layer == 0:
            return found
        return found.sigmoid() if self.encoder.activation == "sigmoid" else found.relu()

    def _greedy(self, values: Tensor, layer: int, clips: Clips, places: int) -> Tensor:
        """Return a layer's own loss for what comes into it, ``[M, D]`` without a gradient."""
        if self.heads is not None:
            label = torch.full((len(clips),), -1, device=values.device) if clips.label is None else clips.label
            scores = self.heads[layer](self.encoder.passed(values, layer)).float()
            scores = scores.unflatten(0, (-1, places)).mean(1)  # [B N, classes]
            target = label.repeat_interleave(clips.video.shape[1])
            costs = functional.cross_entropy(scores, target, ignore_index=-1, reduction="sum")
            return costs / (target >= 0).sum().clamp(min=1)
        if self.kind == "autoencoder":
            return functional.mse_loss(self._down(self.encoder.passed(values, layer), layer), values)
        with torch.no_grad():
            made = self._down(self._sampled(values, layer), layer)
        error = functional.mse_loss(made, values)
        divergence = (self._energy(values, layer) - self._energy(made, layer)).mean() / values.shape[1]
        return error + divergence - divergence.detach()

    def _sampled(self, values: Tensor, layer: int) -> Tensor:
        """Return samples of a machine's hidden units; their means outside of training."""
        mean = self.encoder.passed(values, layer)
        if not self.training:
            return mean
        if layer == len(self.encoder.layers) - 1:
            return mean + torch.randn_like(mean)
        if self.encoder.activation == "sigmoid":
            return torch.bernoulli(mean)
        raw: Tensor = self.encoder.layers[layer](values)
        return (raw + raw.sigmoid().sqrt() * torch.randn_like(raw)).relu()

    def _energy(self, values: Tensor, layer: int) -> Tensor:
        """Return the free energy ``[M]`` of inputs ``[M, D]``."""
        hidden: Tensor = self.encoder.layers[layer](values)
        gaussian = layer == 0 or self.encoder.activation == "relu"
        seen = (values - self.below[layer]).square().sum(1) / 2 if gaussian else -values @ self.below[layer]
        linear = layer == len(self.encoder.layers) - 1
        return seen - (hidden.square() / 2 if linear else functional.softplus(hidden)).sum(1)


def same_video(codes: Tensor, clips: int) -> Tensor:
    """Return for each of ``[B N, D]`` codes how many of the other videos' are farther than the next of its own video.

    They are shares ``[B N]``; equal distances count one half.
    """
    distance = squared_distances(codes, codes)
    number = torch.arange(len(codes), device=codes.device)
    video, place = number // clips, number % clips
    own = distance.gather(1, (video * clips + (place + 1) % clips)[:, None])
    others = (video[:, None] != video).float()
    return (nearer(own, distance) * others).sum(1) / others.sum(1).clamp(min=1)
