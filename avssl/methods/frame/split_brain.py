"""Split-brain autoencoders.

R. Zhang, P. Isola, A. A. Efros: Split-Brain Autoencoders: Unsupervised Learning by Cross-Channel Prediction. CVPR 2017.
https://arxiv.org/abs/1611.09842
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.data.samplers import RandomClips
from avssl.encoders import ResNet, SplitResNet
from avssl.labels import RecordedDepth
from avssl.methods.base import Method
from avssl.methods.dense import MapHead, cell_means, chance_level, masked_accuracy, most_frequent
from avssl.pixels import ab_bins, denormalise, lab_to_rgb, rgb_to_lab

BRIGHT = 25  # bins of L within which two cells count as equally bright, for the chance level
MOST = 0.5  # the share of a cell whose depth must be known for the cell to count


class Crossing(NamedTuple):
    """What one half says of the channels that the other half sees, in M frames of h x w cells.

    Attributes:
        scores: ``[M, K, h, w]`` logits over bins.
        target: ``[M, h, w]`` int64, the true bins.
        given: ``[M, h, w]`` int64, what can be known of a cell without a network, in few classes: for the chance level.
        counted: ``[M, h, w]`` bool, the cells of which the truth is known.
    """

    scores: Tensor
    target: Tensor
    given: Tensor
    counted: Tensor


class CrossChannel(Method):
    """What split brains share: each half classifies every cell of the channels that it does not see.

    The losses, cross-entropies, are added (equations 1 to 3; the paper's best variant classifies). Metrics are
    accuracies over the bins. Chance is the best of three blind answers: the most frequent bin of other videos; the most
    frequent where what is given is the same in that cell; and what the method answers to another video.
    """

    def crossings(self, clips: Clips) -> dict[str, Crossing]:
        """Both directions, by the name of what is predicted."""
        raise NotImplementedError

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Loss and metrics over the cells of B·N·T frames."""
        loss = torch.zeros((), device=clips.video.device)
        out: dict[str, Tensor] = {}
        for name, (scores, target, given, counted) in self.crossings(clips).items():
            losses = F.cross_entropy(scores, target.where(counted, -1), ignore_index=-1, reduction="sum")
            loss = loss + losses / counted.sum().clamp(min=1)
            answer, right, known, valid = (
                part.reshape(len(clips), -1) for part in (scores.argmax(1), target, given, counted)
            )

            def score(guess: Tensor, right: Tensor = right, valid: Tensor = valid) -> Tensor:
                return masked_accuracy(guess == right, valid)

            apart = torch.where(valid, 0, 1)  # cells of which nothing is known must not vote on the others
            known = torch.where(valid, known, known.max() + 1)
            out[name] = score(answer)
            out[f"chance/{name}"] = chance_level(
                score, answer, most_frequent(right, apart), most_frequent(right, known)
            )
        return {"loss": loss, **out}


def nearest_bin(ab: Tensor, bins: Tensor) -> Tensor:
    """``[M, 2, h, w]`` to the number ``[M, h, w]`` of the nearest of ``[Q, 2]`` bins."""
    return torch.cdist(ab.permute(0, 2, 3, 1).flatten(0, 2), bins).argmin(1).view(len(ab), *ab.shape[2:])


def brightness(lab: Tensor, levels: int) -> Tensor:
    """``[M, 3, h, w]`` Lab to bins ``[M, h, w]`` of L."""
    return (lab[:, 0] * levels / 100).long().clamp(0, levels - 1)


def brightest(scores: Tensor) -> Tensor:
    """``[M, levels, h, w]`` logits of L to its mean ``[M, 1, h, w]``."""
    levels = scores.shape[1]
    middles = (torch.arange(levels, device=scores.device) + 0.5) * 100 / levels
    return torch.einsum("mlhw,l->mhw", scores.softmax(1), middles)[:, None]


def mean_colour(scores: Tensor, bins: Tensor) -> Tensor:
    """``[M, Q, h, w]`` logits to the mean a and b ``[M, 2, h, w]``."""
    return torch.einsum("mqhw,qc->mchw", scores.softmax(1), bins)


class SplitBrain(CrossChannel):
    """Which colour has each part of a frame, from its lightness; and how light is it, from its colour?

    The network is two halves that share nothing. One sees L and predicts a and b, the other sees a and b and predicts
    L, over quantised bins (`CrossChannel`). What is kept is both halves, their features side by side, so that it is
    trained on the whole picture although each half saw a part.

    Metrics: ``colour`` and ``light``. Given for the chance level is the other channels' bin in that cell.

    Cells are a quarter of the picture's sides, read by a head over all stages; the paper predicts 12 x 12 cells from
    the last layer of each half.

    Args:
        encoder: both halves.
        sampler: draws the frames.
        width: channels of each head.
        step: width of a bin of a and b in Lab units; those that a screen can show are kept.
        levels: bins of L (the paper: 100).
    """

    bins: Tensor
    encoder: SplitResNet

    def __init__(
        self,
        encoder: SplitResNet,
        sampler: RandomClips | None = None,
        width: int = 64,
        step: float = 10.0,
        levels: int = 100,
    ) -> None:
        super().__init__()
        self.encoder, self.levels = encoder, levels
        self.sampler = sampler or RandomClips(num_frames=1)
        self.register_buffer("bins", ab_bins(step), persistent=False)  # [Q, 2]
        self.colour = MapHead(encoder.light, len(self.bins), width)
        self.light = MapHead(encoder.colour, levels, width)

    def crossings(self, clips: Clips) -> dict[str, Crossing]:  # noqa: D102
        colour, light, lab = self._predicted(clips)
        cells, bright = nearest_bin(lab[:, 1:], self.bins), brightness(lab, self.levels)
        everywhere = torch.ones_like(cells, dtype=torch.bool)
        return {
            "colour": Crossing(colour, cells, brightness(lab, BRIGHT), everywhere),
            "light": Crossing(light, bright, cells, everywhere),
        }

    def _predicted(self, clips: Clips) -> tuple[Tensor, Tensor, Tensor]:
        """Logits ``[M, Q, h, w]`` of colour and ``[M, levels, h, w]`` of light, and the true Lab ``[M, 3, h, w]``."""
        frames = clips.video.flatten(0, 2)  # [M, 3, H, W]
        light, colour = self.encoder.halves(frames[:, None])
        scores = self.colour(light)
        return scores, self.light(colour), cell_means(rgb_to_lab(denormalise(frames)), scores.shape[-2:])

    def describe(self, clips: Clips) -> list[list[str]]:
        """Both directions."""
        return [["colour from light, light from colour"] * clips.video.shape[1]] * len(clips)

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """The frames by cells; colours predicted from their lightness; lightness predicted from their colours."""
        colour, light, lab = self._predicted(clips)
        parts = {
            "target": lab,
            "colour from light": torch.cat([lab[:, :1], mean_colour(colour, self.bins)], 1),
            "light from colour": torch.cat([brightest(light), lab[:, 1:]], 1),
        }
        return {name: lab_to_rgb(part).unflatten(0, clips.video.shape[:3]) for name, part in parts.items()}


class SplitBrainDepth(CrossChannel):
    """How far is each part of a frame, from its picture; and how light and which colour is it, from its depth?

    The split brain over RGB-D (the paper's section 4.2), for recordings of a depth camera. One half sees the picture
    and predicts depth, the other sees depth and predicts L, and a and b; all over quantised bins (`CrossChannel`). What
    is kept is the half that sees pictures: data without depth can be judged with it.

    Metrics: ``depth``, ``colour`` and ``light``, in the cells where depth is known. Given for the chance level is the
    bin of L of that cell, or of its depth.

    The paper encodes depth as HHA (disparity, height, angle to gravity); here it is the logarithm of the depth itself,
    as height and gravity are not known.

    Args:
        encoder: sees the picture; the half that sees depth is another of its kind.
        sampler: draws the frames.
        labeller: where the depth maps are.
        width: channels of each head.
        near: metres at which the bins of depth begin; what is nearer belongs to the first.
        far: metres at which they end; what is farther belongs to the last.
        levels: bins of depth, even in its logarithm, and of L.
        step: width of a bin of a and b in Lab units.
    """

    bins: Tensor
    encoder: ResNet

    def __init__(
        self,
        encoder: ResNet,
        sampler: RandomClips | None = None,
        labeller: RecordedDepth | None = None,
        width: int = 64,
        near: float = 0.5,
        far: float = 10.0,
        levels: int = 24,
        step: float = 10.0,
    ) -> None:
        super().__init__()
        self.encoder, self.near, self.far, self.levels = encoder, near, far, levels
        self.sampler = sampler or RandomClips(num_frames=1)
        self.labeller = labeller or RecordedDepth()
        self.register_buffer("bins", ab_bins(step), persistent=False)  # [Q, 2]
        self.depth_encoder = ResNet(**encoder.config)
        self.depth = MapHead(encoder, levels, width)
        self.light = MapHead(self.depth_encoder, levels, width)
        self.colour = MapHead(self.depth_encoder, len(self.bins), width)

    def crossings(self, clips: Clips) -> dict[str, Crossing]:  # noqa: D102
        assert clips.target is not None
        frames, metres = clips.video.flatten(0, 2), clips.target.flatten(0, 2)  # [M, 3, H, W], [M, H, W]
        depth = self.depth(self.encoder.stages(frames[:, None]))
        seen = self.depth_encoder.stages(self.shown(metres)[:, None])
        lab = cell_means(rgb_to_lab(denormalise(frames)), depth.shape[-2:])
        known = cell_means((metres > 0).float(), depth.shape[-2:])
        place = (cell_means(self.place(metres), depth.shape[-2:]) / known.clamp(min=1e-6) * self.levels).long()
        place, counted = place.clamp(0, self.levels - 1), known > MOST
        bright = brightness(lab, self.levels)
        return {
            "depth": Crossing(depth, place, bright, counted),
            "colour": Crossing(self.colour(seen), nearest_bin(lab[:, 1:], self.bins), place, counted),
            "light": Crossing(self.light(seen), bright, place, counted),
        }

    def place(self, metres: Tensor) -> Tensor:
        """Depth to [0, 1] from near to far, even in its logarithm; 0 where it is not known."""
        place = (metres.clamp(self.near, self.far) / self.near).log() / math.log(self.far / self.near)
        return place * (metres > 0)

    def shown(self, metres: Tensor) -> Tensor:
        """``[M, H, W]`` to what the other half sees, ``[M, 3, H, W]``: depth, where it is known, nothing."""
        known = (metres > 0).float()
        return torch.stack([(4 * self.place(metres) - 2) * known, known, torch.zeros_like(known)], 1)

    def describe(self, clips: Clips) -> list[list[str]]:
        """How far the middle of the known depths is."""
        assert clips.target is not None
        middles = clips.target.flatten(2).where(clips.target.flatten(2) > 0, torch.nan).nanmedian(2).values
        return [[f"middle at {middle:.1f} m" for middle in row] for row in middles.tolist()]

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """Depth and what is told from the picture, near is dark, and the picture told from depth."""
        found = self.crossings(clips)
        shape = clips.video.shape[:3]

        def grey(bins: Tensor) -> Tensor:
            shade = bins.unflatten(0, shape)[..., None, :, :] / (self.levels - 1)
            return shade.expand(*shape, 3, *bins.shape[1:])

        depth = found["depth"]
        told = [brightest(found["light"].scores), mean_colour(found["colour"].scores, self.bins)]
        return {
            "target": grey(depth.target * depth.counted),
            "depth from picture": grey(depth.scores.argmax(1)),
            "picture from depth": lab_to_rgb(torch.cat(told, 1)).unflatten(0, shape),
        }
