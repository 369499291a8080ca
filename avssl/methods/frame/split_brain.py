"""Split-brain autoencoders.

R. Zhang, P. Isola, A. A. Efros: Split-Brain Autoencoders: Unsupervised Learning by Cross-Channel Prediction. CVPR 2017.
https://arxiv.org/abs/1611.09842
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.data.samplers import RandomClips
from avssl.encoders import ResNet, SplitResNet
from avssl.labels import RecordedDepth
from avssl.methods.base import Method
from avssl.methods.dense import MapHead, accuracy_and_chance, cell_means, most_frequent
from avssl.pixels import ab_bins, lab_to_rgb, rgb_to_lab

BRIGHT = 25  # bins of L that condition the chance level
MOST = 0.5  # fraction of a cell whose depth must be known for the cell to count


class CrossPrediction(NamedTuple):
    """Prediction of one half for the channels that the other half sees, in M frames of h x w cells."""

    scores: Tensor  # [M, K, h, w] logits over bins
    target: Tensor  # [M, h, w] int64, the true bins
    given: Tensor  # [M, h, w] int64, classes that condition the chance level: what is known without a network
    cases: int  # number of these classes
    counted: Tensor  # [M, h, w] bool, cells whose ground truth is known


class CrossChannel(Method):
    """Base of split brains: each half classifies every cell of the channels that it does not see.

    The cross-entropies of both halves are added (equations 1 to 3; the paper's best variant classifies). Metrics are
    accuracies over the bins. Chance is the best of three blind answers: the most frequent bin of other videos; the most
    frequent at the same value of ``given``; and the method's answer for another video.
    """

    def cross_predictions(self, clips: Clips) -> dict[str, CrossPrediction]:
        """Predict both directions, by the name of what is predicted."""
        raise NotImplementedError

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and metrics over the cells of B·N·T frames."""
        loss = torch.zeros((), device=clips.video.device)
        out: dict[str, Tensor] = {}
        for name, (scores, target, given, cases, counted) in self.cross_predictions(clips).items():
            losses = F.cross_entropy(scores, target.where(counted, -1), ignore_index=-1, reduction="sum")
            loss = loss + losses / counted.sum().clamp(min=1)
            answer, right, known, valid = (
                part.reshape(len(clips), -1) for part in (scores.argmax(1), target, given, counted)
            )
            apart = torch.where(valid, 0, 1)  # unknown cells must not vote on the others
            known = torch.where(valid, known, cases)
            kinds = scores.shape[1]
            blind = most_frequent(right, kinds, apart, 2), most_frequent(right, kinds, known, cases + 1)
            out |= accuracy_and_chance(name, answer, right, valid, *blind)
        return {"loss": loss, **out}


def nearest_bin(ab: Tensor, bins: Tensor) -> Tensor:
    """Return the index ``[M, h, w]`` of the nearest of ``[Q, 2]`` bins to each colour of ``[M, 2, h, w]``."""
    return torch.cdist(rearrange(ab, "m c h w -> (m h w) c"), bins).argmin(1).view(len(ab), *ab.shape[2:])


def lightness_bins(lab: Tensor, levels: int) -> Tensor:
    """Quantise L of ``[M, 3, h, w]`` Lab to bins ``[M, h, w]``."""
    return (lab[:, 0] * levels / 100).long().clamp(0, levels - 1)


def mean_lightness(scores: Tensor) -> Tensor:
    """Return the mean L ``[M, 1, h, w]`` of ``[M, levels, h, w]`` logits."""
    levels = scores.shape[1]
    centres = (torch.arange(levels, device=scores.device) + 0.5) * 100 / levels
    return torch.einsum("mlhw,l->mhw", scores.softmax(1), centres)[:, None]


def mean_colour(scores: Tensor, bins: Tensor) -> Tensor:
    """Return the mean a and b ``[M, 2, h, w]`` of ``[M, Q, h, w]`` logits."""
    return torch.einsum("mqhw,qc->mchw", scores.softmax(1), bins)


class SplitBrain(CrossChannel):
    """Predict the colour of each part of a frame from its lightness, and its lightness from its colour.

    The network is two halves that share nothing. One sees L and predicts a and b, the other sees a and b and predicts
    L, over quantised bins (`CrossChannel`). Both halves are kept, with their features concatenated: together they see
    the whole picture. Cells are a quarter of the frame's sides, predicted by a head over all stages.

    Metrics: ``colour`` and ``light``. The chance level is conditional on the other channels' bin in that cell.

    Args:
        width: channels per head.
        step: width of a bin of a and b in Lab units; only bins inside sRGB are kept.
        levels: bins of L (paper: 100).
    """

    bins: Tensor
    encoder: SplitResNet
    caption = "colour from light, light from colour"

    def __init__(
        self,
        encoder: SplitResNet,
        sampler: RandomClips | None = None,
        width: int = 64,
        step: float = 10.0,
        levels: int = 100,
    ) -> None:
        super().__init__(encoder, sampler or RandomClips(num_frames=1))
        self.levels = levels
        self.register_buffer("bins", ab_bins(step), persistent=False)  # [Q, 2]
        self.colour = MapHead(encoder.light, len(self.bins), width)
        self.light = MapHead(encoder.colour, levels, width)

    def cross_predictions(self, clips: Clips) -> dict[str, CrossPrediction]:  # noqa: D102
        colour, light, lab = self._predict(clips)
        cells, bright = nearest_bin(lab[:, 1:], self.bins), lightness_bins(lab, self.levels)
        everywhere = torch.ones_like(cells, dtype=torch.bool)
        return {
            "colour": CrossPrediction(colour, cells, lightness_bins(lab, BRIGHT), BRIGHT, everywhere),
            "light": CrossPrediction(light, bright, cells, len(self.bins), everywhere),
        }

    def _predict(self, clips: Clips) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits of colour ``[M, Q, h, w]`` and light ``[M, levels, h, w]``, and true Lab ``[M, 3, h, w]``."""
        light, colour = self.encoder.halves(clips.video.flatten(0, 2)[:, None])
        scores = self.colour(light)
        return scores, self.light(colour), cell_means(rgb_to_lab(clips.rgb.flatten(0, 2)), scores.shape[-2:])

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """Return the frames by cells, colours predicted from lightness, and lightness predicted from colours."""
        colour, light, lab = self._predict(clips)
        parts = {
            "target": lab,
            "colour from light": torch.cat([lab[:, :1], mean_colour(colour, self.bins)], 1),
            "light from colour": torch.cat([mean_lightness(light), lab[:, 1:]], 1),
        }
        return {name: lab_to_rgb(part).unflatten(0, clips.video.shape[:3]) for name, part in parts.items()}


class SplitBrainDepth(CrossChannel):
    """Predict the depth of each part of a frame from its picture, and its lightness and colour from its depth.

    The split brain over RGB-D (section 4.2), for recordings of a depth camera. One half sees the picture and predicts
    depth, the other sees depth and predicts L, and a and b, over quantised bins (`CrossChannel`). The half that sees
    pictures is kept, so that it can be evaluated on data without depth.

    Metrics: ``depth``, ``colour`` and ``light``, in cells with known depth. The chance level is conditional on the bin
    of L of that cell, or of its depth.

    Args:
        encoder: sees the picture; the half that sees depth has the same architecture.
        labeller: reads the depth maps.
        width: channels per head.
        near: metres at which the bins of depth begin; nearer depths belong to the first.
        far: metres at which they end; farther depths belong to the last.
        levels: bins of depth, equal in its logarithm, and of L.
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
        super().__init__(encoder, sampler or RandomClips(num_frames=1))
        self.labeller = labeller or RecordedDepth()
        self.near, self.far, self.levels = near, far, levels
        self.register_buffer("bins", ab_bins(step), persistent=False)  # [Q, 2]
        self.depth_encoder = ResNet(**encoder.config)
        self.depth = MapHead(encoder, levels, width)
        self.light = MapHead(self.depth_encoder, levels, width)
        self.colour = MapHead(self.depth_encoder, len(self.bins), width)

    def cross_predictions(self, clips: Clips) -> dict[str, CrossPrediction]:  # noqa: D102
        assert clips.target is not None
        metres = clips.target.flatten(0, 2)  # [M, H, W]
        depth = self.depth(self.encoder.stages(clips.video.flatten(0, 2)[:, None]))
        seen = self.depth_encoder.stages(self.depth_input(metres)[:, None])
        lab, known, total = (
            cell_means(maps, depth.shape[-2:])
            for maps in (rgb_to_lab(clips.rgb.flatten(0, 2)), (metres > 0).float(), self.depth_position(metres))
        )
        place = (total / known.clamp(min=1e-6) * self.levels).long().clamp(0, self.levels - 1)
        counted, bright, cells = known > MOST, lightness_bins(lab, self.levels), nearest_bin(lab[:, 1:], self.bins)
        return {
            "depth": CrossPrediction(depth, place, bright, self.levels, counted),
            "colour": CrossPrediction(self.colour(seen), cells, place, self.levels, counted),
            "light": CrossPrediction(self.light(seen), bright, place, self.levels, counted),
        }

    def depth_position(self, metres: Tensor) -> Tensor:
        """Map depth to [0, 1] from near to far, linear in its logarithm; 0 where it is unknown."""
        place = (metres.clamp(self.near, self.far) / self.near).log() / math.log(self.far / self.near)
        return place * (metres > 0)

    def depth_input(self, metres: Tensor) -> Tensor:
        """Return the input of the other half, ``[M, 3, H, W]``: depth, a mask of known depth, and zeros."""
        known = (metres > 0).float()
        return torch.stack([(4 * self.depth_position(metres) - 2) * known, known, torch.zeros_like(known)], 1)

    def describe(self, clips: Clips) -> list[list[str]]:
        """Return the median known depth of each clip."""
        assert clips.target is not None
        medians = clips.target.flatten(2).where(clips.target.flatten(2) > 0, torch.nan).nanmedian(2).values
        return [[f"middle at {median:.1f} m" for median in row] for row in medians.tolist()]

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """Return true depth, depth predicted from the picture (near is dark), and the picture predicted from depth."""
        found = self.cross_predictions(clips)
        shape = clips.video.shape[:3]

        def grey(bins: Tensor) -> Tensor:
            shade = bins.unflatten(0, shape)[..., None, :, :] / (self.levels - 1)
            return shade.expand(*shape, 3, *bins.shape[1:])

        depth = found["depth"]
        lab = torch.cat([mean_lightness(found["light"].scores), mean_colour(found["colour"].scores, self.bins)], 1)
        return {
            "target": grey(depth.target * depth.counted),
            "depth from picture": grey(depth.scores.argmax(1)),
            "picture from depth": lab_to_rgb(lab).unflatten(0, shape),
        }
