"""Geometric transformations of clips, and a network that says which of them a clip has undergone.

I. Golan, R. El-Yaniv: Deep Anomaly Detection Using Geometric Transformations. NeurIPS 2018.
https://arxiv.org/abs/1805.10917
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import product
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from avssl.encoders.base import Encoder
from avssl.encoders.export import build, plan
from avssl.runtime.checks import check_ranges


@dataclass(frozen=True)
class Changes:
    """All combinations of turns, mirroring, shifts, reversal and paces: 32 of a clip, or 72 of a frame with shifts.

    A combination's number has one digit per factor, the pace being the last.

    Args:
        turns: 0, 90, 180 and 270 degrees anticlockwise; otherwise upright only.
        mirror: as they are and mirrored, before they are turned.
        shift: pixels by which frames are shifted up, down, left and right, then filled by reflection (Golan and
            El-Yaniv: a quarter of the side); 0 for no shifts.
        reverse: forwards and backwards.
        paces: every how manyth of the frames read is shown.

    Raises:
        ValueError: if there is only one combination, or a pace is given twice.
    """

    turns: bool = True
    mirror: bool = True
    shift: int = 0
    reverse: bool = True
    paces: tuple[int, ...] = (1, 2)

    def __post_init__(self) -> None:
        check_ranges("changes", self, shift="[0, inf)", paces="[1, inf)")
        if not self.paces or len(set(self.paces)) < len(self.paces):
            raise ValueError(f"changes.paces is {list(self.paces)}: name each pace once, at least one")
        if self.count < 2:
            raise ValueError(
                "changes: a single combination tells nothing; allow turns, mirror, shift, reverse or paces"
            )

    @property
    def factors(self) -> dict[str, int]:
        """Number of values of each factor."""
        moved = 3 if self.shift else 1
        spatial = {"turn": 4 if self.turns else 1, "mirror": 1 + self.mirror, "down": moved, "across": moved}
        return {**spatial, "reverse": 1 + self.reverse, "pace": len(self.paces)}

    @property
    def count(self) -> int:
        """Number of combinations (K)."""
        return prod(self.factors.values())

    @cached_property
    def combinations(self) -> list[tuple[int, ...]]:
        """The value of each factor in each combination, by its number."""
        return list(product(*(range(number) for number in self.factors.values())))

    def digits(self, numbers: Tensor) -> dict[str, Tensor]:
        """Return the value of each factor in some combinations, computed where their numbers are."""
        found, below = {}, self.count
        for name, size in self.factors.items():
            below //= size
            found[name] = numbers // below % size
        return found

    def shown(self, read: int) -> int:
        """Return how many of the frames read a transformed clip shows (T).

        Raises:
            ValueError: if that is no whole number.
        """
        if read % max(self.paces):
            raise ValueError(f"{read} frames can't be shown at pace {max(self.paces)}: read a multiple of it")
        return read // max(self.paces)

    def places(self, read: int, side: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return from where each combination takes its frames ``[K, T]`` and its pixels ``[K, side * side]``.

        Raises:
            ValueError: if a shift is as long as the side, or see `shown`.
        """
        if self.shift >= side:
            raise ValueError(f"changes.shift is {self.shift}: pictures are only {side} pixels wide")
        key = read, side, device
        if key not in self._known:
            with torch.inference_mode(False):  # training may follow, and keeps the places for its gradients
                self._known[key] = self._places(*key)
        return self._known[key]

    @cached_property
    def _known(self) -> dict[tuple[int, int, torch.device], tuple[Tensor, Tensor]]:
        return {}

    def _places(self, read: int, side: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Compute `places` on the device, so that nothing is copied to it."""
        number = torch.arange(side * side, device=device).view(side, side)
        line, length = torch.arange(side, device=device), self.shown(read)
        frames, pixels = [], []
        for turn, mirror, down, across, reverse, pace in self.combinations:
            moved = number.flip(1) if mirror else number
            moved = moved.rot90(turn)
            if self.shift:
                rows, columns = (_reflected(line - self.shift * (way - 1), side) for way in (down, across))
                moved = moved[rows][:, columns]
            step = self.paces[pace]
            when = (read - length * step) // 2 + step * torch.arange(length, device=device)
            frames.append(when.flip(0) if reverse else when)
            pixels.append(moved.flatten())
        return torch.stack(frames), torch.stack(pixels)

    def apply(self, clips: Tensor, numbers: Tensor) -> Tensor:
        """Transform ``[M, R, 3, S, S]`` clips by the combinations ``[M, J]``: ``[M, J, T, 3, S, S]``.

        Pixels are moved, never mixed, and nothing waits for the device.
        """
        count, read, _, side, width = clips.shape
        if side != width:
            raise ValueError(f"transformations need square frames, got {side} x {width}")
        frames, pixels = self.places(read, side, clips.device)
        rows = torch.arange(count, device=clips.device)[:, None, None]
        taken = clips.flatten(3)[rows, frames[numbers]]  # [M, J, T, 3, S S]
        return taken.gather(4, pixels[numbers][:, :, None, None].expand(taken.shape)).unflatten(4, (side, side))

    def words(self, number: int) -> str:
        """Name a combination."""
        turn, mirror, down, across, reverse, pace = self.combinations[number]
        return ", ".join(
            filter(
                None,
                [
                    f"{90 * turn} degrees",
                    "mirrored" * mirror,
                    f"down {self.shift * (down - 1)}, right {self.shift * (across - 1)}" if self.shift else "",
                    "backwards" * reverse,
                    f"pace {self.paces[pace]}" if len(self.paces) > 1 else "",
                ],
            )
        )


def _reflected(places: Tensor, side: int) -> Tensor:
    """Reflect places ``[N]`` beyond the edges back into ``0 ... side - 1``, without repeating the edge."""
    places = places.abs()
    return torch.where(places >= side, 2 * (side - 1) - places, places)


class TransformationJudge(Encoder):
    """An encoder with linear layers that say which combination of `Changes` a clip has undergone.

    As an encoder, it describes a clip by the log-probabilities ``[K * K]`` of all K combinations given the clip in each
    of the K: by itself, what anomaly detection needs.

    Args:
        encoder: an encoder, or its `plan`.
        changes: the combinations, or their settings.
        joint: one softmax over all combinations (Golan and El-Yaniv); otherwise one per factor (Hendrycks et al.,
            NeurIPS 2019, section 4), whose probabilities are multiplied.
    """

    def __init__(
        self, encoder: Encoder | Mapping[str, Any], changes: Changes | Mapping[str, Any], joint: bool = True
    ) -> None:
        encoder = encoder if isinstance(encoder, Encoder) else build(encoder, Encoder)
        if not isinstance(changes, Changes):
            changes = Changes(**{**changes, "paces": tuple(changes["paces"])})
        settings = {**asdict(changes), "paces": list(changes.paces)}
        super().__init__(changes.count**2, {"encoder": plan(encoder), "changes": settings, "joint": joint})
        self.encoder, self.changes, self.joint = encoder, changes, joint
        sizes = {"all": changes.count} if joint else {name: size for name, size in changes.factors.items() if size > 1}
        self.heads = nn.ModuleDict({name: nn.Linear(encoder.num_features, size) for name, size in sizes.items()})
        self.min_clip = tuple(encoder.min_clip)  # type: ignore[assignment]

    def logits(self, shown: Tensor) -> dict[str, Tensor]:
        """Return the logits ``[M, size]`` float32 of each head for transformed clips ``[M, T, 3, S, S]``."""
        features = self.encoder(shown)
        return {name: head(features).float() for name, head in self.heads.items()}

    def targets(self, numbers: Tensor) -> dict[str, Tensor]:
        """Return what each head should say, ``[M]``, of clips in the combinations ``[M]``."""
        if self.joint:
            return {"all": numbers}
        return {name: digit for name, digit in self.changes.digits(numbers).items() if name in self.heads}

    def joined(self, logits: Mapping[str, Tensor]) -> Tensor:
        """Return the log-probabilities ``[M, K]`` of all combinations."""
        every = torch.arange(self.changes.count, device=next(iter(logits.values())).device)
        return sum(
            (logits[name].log_softmax(1)[:, digit] for name, digit in self.targets(every).items()),
            start=torch.zeros((), device=every.device),
        )

    def forward(self, clips: Tensor) -> Tensor:
        """Return ``[B, K * K]`` log-probabilities, one shown combination after the other, of ``[B, R, 3, S, S]``."""
        self.check_clips(clips)
        every = torch.arange(self.changes.count, device=clips.device)
        rows = [
            self.joined(self.logits(self.changes.apply(clips, number.expand(len(clips), 1)).flatten(0, 1)))
            for number in every.split(1)
        ]
        return torch.stack(rows, 1).flatten(1)
