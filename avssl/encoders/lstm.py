"""An LSTM that reads a clip frame by frame; its outputs are the clip's features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.encoders.base import Encoder
from avssl.encoders.export import build, plan

State = list[tuple[Tensor, Tensor]]  # (output h, cell c) of each layer, [B, width] each


class PeepholeLSTM(nn.Module):
    """LSTM with peephole connections (A. Graves: Generating Sequences with Recurrent Neural Networks, 2013).

    The equations are those of Srivastava et al., ICML 2015, section 2. Inputs are divided by the square root of their
    width and their weights are larger by as much: otherwise thousands of pixels of one sign would saturate all gates
    within a few steps of Adam, which moves every weight equally far.

    Args:
        inputs: width of the first layer's input; 0 for a network without input, which runs on its state alone.
        width: units per layer.
        layers: number of layers; each reads the one below.
    """

    def __init__(self, inputs: int, width: int, layers: int = 1) -> None:
        super().__init__()
        self.width = width
        self.weight = nn.Parameter(torch.randn(4 * width, inputs) / 3**0.5) if inputs else None
        self.below = nn.ModuleList(nn.Linear(width, 4 * width, bias=False) for _ in range(layers - 1))
        self.before = nn.ModuleList(nn.Linear(width, 4 * width) for _ in range(layers))
        self.peepholes = nn.ParameterList(torch.zeros(3, width) for _ in range(layers))

    def forward(self, values: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Return the top layer's outputs ``[B, T, width]`` float32 for ``[B, T, inputs]``, and the state after them.

        Without a state, it starts from zero.
        """
        state = self.start(values) if state is None else state
        outputs = []
        for read in self.read(values).unbind(1):
            state = self.step(read, state)
            outputs.append(state[-1][0])
        return torch.stack(outputs, 1), state

    def read(self, values: Tensor) -> Tensor:
        """Map ``[..., inputs]`` to their contribution to the first layer's gates, ``[..., 4 width]``."""
        assert self.weight is not None, "this LSTM has no input"
        return F.linear(values / values.shape[-1] ** 0.5, self.weight)

    def start(self, values: Tensor) -> State:
        """Return the zero state, for as many rows as ``values``."""
        zeros = values.new_zeros(len(values), self.width, dtype=torch.float32)
        return [(zeros, zeros) for _ in self.before]

    def step(self, read: Tensor | None, state: State) -> State:
        """Advance the state by one step; ``read`` is the output of `read`, ``[B, 4 width]``, or None without input."""
        after: State = []
        for layer, (output, cell) in enumerate(state):
            gates = self.before[layer](output).float()  # [B, 4 width]
            if layer > 0:
                read = self.below[layer - 1](after[-1][0])
            gates = gates if read is None else gates + read.float()
            entry, forget, content, leave = gates.chunk(4, 1)
            at_entry, at_forget, at_leave = self.peepholes[layer]
            entry, forget = torch.sigmoid(entry + at_entry * cell), torch.sigmoid(forget + at_forget * cell)
            cell = forget * cell + entry * content.tanh()
            after.append((torch.sigmoid(leave + at_leave * cell) * cell.tanh(), cell))
        return after


class FrameLSTM(Encoder):
    """LSTM over frames or over features of frames (percepts), after Srivastava et al. (ICML 2015).

    `maps` are the top layer's outputs, one per frame (T' = T, H' = W' = 1); `forward` averages them over time, as the
    paper averages its classifier's predictions over the steps (section 3).

    Args:
        width: units per layer, which is D (the paper: 2048).
        layers: layers of the LSTM (the paper: 1 for actions, 2 for moving digits).
        size: height and width to which frames are averaged if the LSTM reads pixels (the paper's patches: 32).
        percepts: frame encoder whose features, normalised per channel, the LSTM reads instead of pixels. It is frozen,
            as in the paper: a trainable target would become constant. Pass a trained one by ``class_path:
            avssl.encoders.load_encoder``. An export's config names it by class and arguments.

    Raises:
        ValueError: if percepts come from an encoder that mixes frames.
    """

    def __init__(
        self, width: int = 2048, layers: int = 1, size: int = 32, percepts: Encoder | dict[str, Any] | None = None
    ) -> None:
        source = build(percepts, Encoder, "FrameLSTM.percepts") if isinstance(percepts, Mapping) else percepts
        named = None if source is None else plan(source)
        config = {"width": width, "layers": layers, "size": size, "percepts": named}
        super().__init__(num_features=width, config=config)
        if source is not None and not source.per_frame:
            raise ValueError(f"FrameLSTM: percepts need a frame encoder; {type(source).__name__} mixes frames in time")
        self.size = size
        self.percepts = None if source is None else source.requires_grad_(False).eval()
        self.values = 3 * size**2 if source is None else source.num_features  # input width per frame
        self.standardise = None if source is None else nn.BatchNorm1d(self.values, affine=False)
        self.lstm = PeepholeLSTM(self.values, width, layers)

    def train(self, mode: bool = True) -> FrameLSTM:
        """Set the mode; the frozen percepts stay in eval mode."""
        super().train(mode)
        if self.percepts is not None:
            self.percepts.eval()
        return self

    def read(self, clips: Tensor) -> Tensor:
        """Return the LSTM's input of clips ``[B, T, 3, H, W]`` (float, normalised): ``[B, T, V]`` float32.

        These are pixels (V = 3 size²; channel, row, column) or normalised percepts.
        """
        self.check_clips(clips)
        if self.percepts is None or self.standardise is None:
            pixels = F.adaptive_avg_pool2d(clips.flatten(0, 1).float(), self.size)
            return rearrange(pixels, "(b t) c h w -> b t (c h w)", b=len(clips))
        with torch.no_grad():
            found: Tensor = self.percepts.frames(clips)  # type: ignore[operator]
        return self.standardise(found.flatten(0, 1)).unflatten(0, (len(clips), -1))

    def maps(self, clips: Tensor) -> Tensor:  # noqa: D102
        outputs, _ = self.lstm(self.read(clips))  # [B, T, D]
        return outputs.mT[..., None, None]  # [B, D, T, 1, 1]
