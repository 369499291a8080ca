"""Where the weights of an encoder begin: at random, at k-means of patches, or with what an earlier run knows.

P. Krähenbühl, C. Doersch, J. Donahue, T. Darrell: Data-dependent Initializations of Convolutional Neural Networks. ICLR
2016 (``kmeans``); M. Raghu, C. Zhang, J. Kleinberg, S. Bengio: Transfusion: Understanding Transfer Learning for Medical
Imaging. NeurIPS 2019 (``mean_var``: section 4.1; ``first_K``: section 5).
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from avssl.encoders.base import Encoder
from avssl.encoders.blocks import blocks, depths
from avssl.encoders.export import load_encoder

PATTERN = re.compile(r"(random|kmeans)|(mean_var|first_(\d+)):(.+)")
RANDOM = "random"
PATCHES = 4000  # that the k-means of a layer sees, at least 4 for each of its channels
ROUNDS = 10  # of k-means; of equalising
FLOOR = 1e-3  # least variance of a direction that is whitened, relative to the largest
DAMPING = 0.5
STEP = 3.0  # largest factor of a layer in one round


def check_initial(initial: str, place: str = "initial") -> None:
    """Raise a ValueError unless a text is ``random``, ``kmeans``, ``mean_var:RUN`` or ``first_K:RUN``."""
    if PATTERN.fullmatch(initial) is None:
        raise ValueError(
            f"{place} is {initial!r}: expected random, kmeans, mean_var:RUN or first_K:RUN, such as first_2:runs/rotnet"
        )


def run_of(initial: str) -> str | None:
    """Return the run that first weights are taken from, None if they are not."""
    found = PATTERN.fullmatch(initial)
    return found and found[4]


def begin_with(encoder: Encoder, initial: str, clips: Callable[[], Tensor], seed: int = 0) -> None:
    """Give an encoder its first weights, in place.

    - ``random``: those it was built with.
    - ``kmeans``: each convolution becomes the k-means centres of whitened patches of its own input, each channel of
      unit variance and, where there is a bias, zero mean; then layers are scaled until all of them change at the same
      relative rate (Krähenbühl et al., algorithms 1 and 2). Other layers stay as they are.
    - ``mean_var:RUN``: every parameter is drawn from a normal distribution with mean and variance of the run's: it
      knows the scale of each layer and nothing else. Widths may differ.
    - ``first_K:RUN``: the run's weights up to the K-th block (`avssl.encoders.blocks`), 0 being those before the
      first; random ones above.

    Args:
        encoder: a new network; running statistics are left as they were, but for those that ``first_K`` copies.
        initial: one of these.
        clips: called by ``kmeans`` alone; returns training clips, normalised, ``[B, T, 3, H, W]``.
        seed: of all that is random.

    Raises:
        FileNotFoundError: if the run has no encoder.
        ValueError: if the text says something else, the run's network has other parts, or ``kmeans`` finds no
            convolution.
    """
    check_initial(initial)
    found = PATTERN.fullmatch(initial)
    assert found is not None
    rng = torch.Generator().manual_seed(seed)
    if initial == "kmeans":
        _centres(encoder, clips(), rng)
    elif found[2]:
        other = load_encoder(found[4])
        if found[3] is None:
            _mean_var(encoder, other, rng)
        else:
            _first(encoder, other, int(found[3]))


@torch.no_grad()
def _mean_var(encoder: Encoder, other: Encoder, rng: torch.Generator) -> None:
    theirs = dict(other.named_parameters())
    _check_names(encoder, other)
    for name, parameter in encoder.named_parameters():
        given = theirs[name].float()
        std = given.std(correction=0).item()
        parameter.copy_(given.mean().item() + std * torch.randn(parameter.shape, generator=rng))


@torch.no_grad()
def _first(encoder: Encoder, other: Encoder, count: int) -> None:
    _check_names(encoder, other)
    depth = depths(encoder)
    last = len(blocks(encoder))
    if count > last:
        raise ValueError(f"initial: {type(encoder).__name__} has {last} blocks, not {count}")
    kept = {name for name, place in depth.items() if place <= count}
    owners = {name.rpartition(".")[0] for name in kept}
    ours, theirs = encoder.state_dict(), other.state_dict()
    for name, tensor in ours.items():
        if name in kept or (name not in depth and name.rpartition(".")[0] in owners):
            if tensor.shape != theirs[name].shape:
                what = f"{name} is {list(theirs[name].shape)} in the run, {list(tensor.shape)} here"
                raise ValueError(f"initial: {what}: first_K needs the same network (mean_var takes other widths)")
            tensor.copy_(theirs[name])


def _check_names(encoder: Encoder, other: Encoder) -> None:
    differing = dict(encoder.named_parameters()).keys() ^ dict(other.named_parameters()).keys()
    if differing:
        raise ValueError(
            f"initial: the run's {type(other).__name__} and this {type(encoder).__name__} differ in "
            f"{len(differing)} parameters, such as {min(differing)}: name a run with the same network"
        )


def _centres(encoder: Encoder, clips: Tensor, rng: torch.Generator) -> None:
    """Set every convolution to k-means centres, from the first that a clip passes to the last, and equalise them."""
    before = {name: value.clone() for name, value in encoder.named_buffers()}
    training = encoder.training
    encoder.train()  # batch normalisation by the clips' own statistics
    try:
        layers = _convolutions(encoder, clips)
        if not layers:
            raise ValueError(f"initial: {type(encoder).__name__} has no convolution: kmeans needs some")
        for layer in layers:
            _set_centres(layer, _input_of(encoder, layer, clips), rng)
        _equalise(encoder, layers, clips, rng)
    finally:
        encoder.train(training)
        with torch.no_grad():
            for name, value in encoder.named_buffers():
                value.copy_(before[name])


def _convolutions(encoder: Encoder, clips: Tensor) -> list[nn.Conv2d | nn.Conv3d]:
    """Return the convolutions without groups in the order in which clips pass them."""
    passed: dict[nn.Module, None] = {}
    hooks = [
        layer.register_forward_pre_hook(lambda module, _: passed.setdefault(module))
        for layer in encoder.modules()
        if isinstance(layer, nn.Conv2d | nn.Conv3d) and layer.groups == 1 and not isinstance(layer.padding, str)
    ]
    _pass(encoder, clips[:2], hooks)
    return [layer for layer in passed if isinstance(layer, nn.Conv2d | nn.Conv3d)]


def _input_of(encoder: Encoder, layer: nn.Module, clips: Tensor) -> Tensor:
    seen: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().float()))
    _pass(encoder, clips, [hook])
    return seen[0]


@torch.no_grad()
def _pass(encoder: Encoder, clips: Tensor, hooks: list[torch.utils.hooks.RemovableHandle]) -> None:
    try:
        encoder.maps(clips)
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def _set_centres(layer: nn.Conv2d | nn.Conv3d, inputs: Tensor, rng: torch.Generator) -> None:
    patches = _patches(layer, inputs, max(PATCHES, 4 * layer.out_channels), rng)  # [N, D]
    mean = patches.mean(0)
    covariance = ((patches - mean).T @ (patches - mean) / len(patches)).double().numpy()
    variances, directions = map(torch.from_numpy, np.linalg.eigh(covariance))  # torch's fails where many are 0
    kept = variances > FLOOR * variances[-1]
    whitening = (directions[:, kept] / variances[kept].sqrt()).float()  # [D, R]
    white = (patches - mean) @ whitening
    weights = kmeans(white, layer.out_channels, rng) @ whitening.T  # [K, D]
    outputs = patches @ weights.T
    weights /= outputs.std(0, correction=0).clamp(min=1e-6)[:, None]
    layer.weight.copy_(weights.view_as(layer.weight))
    if layer.bias is not None:
        layer.bias.copy_(-(patches @ weights.T).mean(0))


def _patches(layer: nn.Conv2d | nn.Conv3d, inputs: Tensor, count: int, rng: torch.Generator) -> Tensor:
    """Draw what a convolution sees of its input at random places: ``[N, D]``."""
    assert not isinstance(layer.padding, str)
    padding = [side for size in reversed(layer.padding) for side in (size, size)]
    windows = functional.pad(inputs, padding)
    for axis, (kernel, step) in enumerate(zip(layer.kernel_size, layer.stride, strict=True), start=2):
        windows = windows.unfold(axis, min(kernel, windows.shape[axis]), step)
    dims = len(layer.kernel_size)
    places = [torch.randint(windows.shape[axis], (count,), generator=rng) for axis in (0, *range(2, 2 + dims))]
    drawn = windows.movedim(1, dims + 1)[tuple(places)]  # [N, C, kernel]
    return drawn.reshape(count, -1)


def kmeans(vectors: Tensor, count: int, rng: torch.Generator) -> Tensor:
    """Return ``[K, D]`` unit centres of ``[N, D]`` vectors, N >= K; one that loses all vectors is drawn anew."""
    centres = vectors[torch.randperm(len(vectors), generator=rng)[:count]]
    for _ in range(ROUNDS):
        own = torch.cdist(vectors, centres).argmin(1)
        sizes = torch.bincount(own, minlength=count)
        sums = torch.zeros_like(centres).index_add_(0, own, vectors)
        fresh = vectors[torch.randint(len(vectors), (count,), generator=rng)]
        centres = torch.where(sizes[:, None] > 0, sums / sizes.clamp(min=1)[:, None], fresh)
    return functional.normalize(centres, dim=1)


def change_rates(encoder: Encoder, layers: list[nn.Conv2d | nn.Conv3d], clips: Tensor, rng: torch.Generator) -> Tensor:
    """Return each layer's gradient relative to its weights (root mean squares), for a random direction of outputs."""
    output = encoder.maps(clips)
    direction = torch.randn(output.shape, generator=rng)
    slopes = torch.autograd.grad((output * direction).mean(), [layer.weight for layer in layers])
    rates = [
        (slope.square().mean() / layer.weight.square().mean()).sqrt()
        for slope, layer in zip(slopes, layers, strict=True)
    ]
    return torch.stack(rates).detach()


def _equalise(encoder: Encoder, layers: list[nn.Conv2d | nn.Conv3d], clips: Tensor, rng: torch.Generator) -> None:
    """Scale layers until their relative gradients agree: enlarging a layer's weights lowers its own (algorithm 2)."""
    trainable = [parameter.requires_grad for parameter in encoder.parameters()]
    encoder.requires_grad_(True)
    for _ in range(ROUNDS):
        rates = change_rates(encoder, layers, clips, rng).clamp(min=1e-20)
        scales = ((rates / rates.log().mean().exp()) ** DAMPING).clamp(1 / STEP, STEP)
        with torch.no_grad():
            for layer, scale in zip(layers, scales, strict=True):
                layer.weight *= scale
                if layer.bias is not None:
                    layer.bias *= scale
    for parameter, before in zip(encoder.parameters(), trainable, strict=True):
        parameter.requires_grad_(before)
