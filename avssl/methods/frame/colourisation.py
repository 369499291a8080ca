"""Automatic colourisation.

G. Larsson, M. Maire, G. Shakhnarovich: Colorization as a Proxy Task for Visual Understanding. CVPR 2017.
https://arxiv.org/abs/1703.04044; losses and inference follow the same authors' Learning Representations for Automatic
Colorization, ECCV 2016. https://arxiv.org/abs/1603.06668
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.data.samplers import RandomClips
from avssl.encoders import ResNet
from avssl.methods.base import Method
from avssl.methods.dense import accuracy_and_chance, cell_means, class_counts, most_frequent
from avssl.pixels import hue_chroma_to_rgb, rgb_to_hue_chroma

COLOURFUL = 1 / 16  # least chroma at which a hue counts in the metric
FADE = 0.03  # mean resultant below which colours are faded (ECCV 2016, section 3.3)
MIXED = 0.5  # weight of the uniform distribution in class rebalancing (Zhang et al., ECCV 2016, equation 4)


class Colourisation(Method):
    """Predict the hue and chroma of each part of a grey frame.

    The input is the mean of the channels. At random places, the maps of all stages, upsampled bilinearly, and the grey
    value itself form a hypercolumn; one layer over it predicts two histograms, of hue and of chroma, of 32 equal bins
    each. The loss is the cross-entropy of the chroma, plus ``hue_weight`` times the chroma times that of the hue: hue
    without chroma is meaningless (ECCV 2016, equation 5). Places are the cells of the encoder's first maps (a quarter
    of the frame's sides), and their true colour is the mean of the cell.

    Metrics: ``chroma`` and ``hue``, accuracy over the bins, hue at places that have chroma. Chance is the best of three
    blind answers: the most frequent bin of other videos; the most frequent at the same brightness, which is all that a
    grey pixel gives away; and the method's answer for another video.

    Args:
        encoder: frame encoder; `avssl.encoders.GreyResNet` sees grey in transfer too.
        width: size of the layer over the hypercolumn (paper: 1024).
        bins: bins per histogram.
        places: places per frame (paper: 128).
        hue_weight: lambda, about one over the mean chroma.
        rebalance: up-weight rare bins by their frequency in the batch (Zhang et al., ECCV 2016, section 2.2).
    """

    encoder: ResNet
    caption = "hue and chroma from grey"

    def __init__(
        self,
        encoder: ResNet,
        sampler: RandomClips | None = None,
        width: int = 1024,
        bins: int = 32,
        places: int = 128,
        hue_weight: float = 5.0,
        rebalance: bool = False,
    ) -> None:
        super().__init__(encoder, sampler or RandomClips(num_frames=1))
        self.bins, self.places, self.hue_weight, self.rebalance = bins, places, hue_weight, rebalance
        channels = 1 + sum(encoder.stage_channels)
        self.balance = nn.BatchNorm1d(channels)
        self.layer = nn.Sequential(nn.Linear(channels, width), nn.ReLU())
        self.hue, self.chroma = nn.Linear(width, bins), nn.Linear(width, bins)

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and metrics over some places of B·N·T frames."""
        maps, cells = self._grey_maps(clips)
        count = cells.shape[-2] * cells.shape[-1]
        places = torch.rand(len(cells), count, device=cells.device).argsort(1)[:, : self.places]  # [M, P]
        scores = dict(zip(("hue", "chroma"), self._scores(maps, places), strict=True))  # [M, P, bins] each
        hue, chroma, light = (part.flatten(1).gather(1, places) for part in rgb_to_hue_chroma(cells))
        target = {"hue": self._binned(hue), "chroma": self._binned(chroma)}
        weight = {"hue": self.hue_weight * chroma, "chroma": torch.ones_like(chroma)}
        counted = {"hue": chroma > COLOURFUL, "chroma": torch.ones_like(chroma, dtype=torch.bool)}
        bright = self._binned(light).view(len(clips), -1)
        loss = torch.zeros((), device=cells.device)
        out: dict[str, Tensor] = {}
        for name, right in target.items():
            cost = F.cross_entropy(scores[name].flatten(0, 1), right.flatten(), reduction="none").view_as(right)
            rare = rarity_weights(right, self.bins)[right] if self.rebalance else 1.0
            loss = loss + (cost * weight[name] * rare).mean()
            answer, right, known = (
                part.reshape(len(clips), -1) for part in (scores[name].argmax(2), right, counted[name])
            )
            blind = most_frequent(right, self.bins), most_frequent(right, self.bins, bright, self.bins)
            out |= accuracy_and_chance(name, answer, right, known, *blind)
        return {"loss": loss, **out}

    def _grey_maps(self, clips: Clips) -> tuple[list[Tensor], Tensor]:
        """Return maps ``[M, C, h, w]`` of grey frames, grey cells first, and the true colours ``[M, 3, h, w]``."""
        rgb = clips.rgb.flatten(0, 2)  # [M, 3, H, W]
        light = rgb.mean(1, keepdim=True)
        stages = self.encoder.stages(clips.normalise(light)[:, None])
        size = stages[0].shape[-2:]
        return [cell_means(light, size), *stages], cell_means(rgb, size)

    def _scores(self, maps: Sequence[Tensor], places: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits ``[M, P, bins]`` of hue and of chroma at cells ``[M, P]``, numbered row by row."""
        columns = hypercolumns(maps, places)  # [M, P, C]
        hidden = self.layer(self.balance(columns.flatten(0, 1)).view_as(columns))
        return self.hue(hidden).float(), self.chroma(hidden).float()

    def _binned(self, values: Tensor) -> Tensor:
        return (values * self.bins).long().clamp(max=self.bins - 1)

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """Return the frames in grey, in true colours and in predicted colours, by cells."""
        maps, cells = self._grey_maps(clips)
        size = cells.shape[-2:]
        every = torch.arange(size[0] * size[1], device=cells.device).expand(len(cells), -1)
        hue, chroma = decode_histograms(*(scores.softmax(2) for scores in self._scores(maps, every)))  # [M, h w] each
        light = cells.mean(1)  # [M, h, w]
        painted = hue_chroma_to_rgb(hue.unflatten(1, size), chroma.unflatten(1, size), light)
        images = {"shown": light[:, None].expand_as(cells), "target": cells, "prediction": painted}
        return {name: part.unflatten(0, clips.video.shape[:3]) for name, part in images.items()}


def hypercolumns(maps: Sequence[Tensor], places: Tensor) -> Tensor:
    """Read ``[M, C, h, w]`` maps, upsampled bilinearly to the size of the first, at some places: ``[M, P, sum of C]``.

    Places ``[M, P]`` are cells of the first maps, numbered row by row.
    """
    height, width = maps[0].shape[-2:]
    across = (places % width + 0.5) * 2 / width - 1
    down = (places // width + 0.5) * 2 / height - 1
    grid = torch.stack([across, down], 2)[:, None]  # [M, 1, P, 2]
    read = [F.grid_sample(part.float(), grid, padding_mode="border", align_corners=False) for part in maps]
    return torch.cat(read, 1).squeeze(2).transpose(1, 2)


def decode_histograms(hue: Tensor, chroma: Tensor) -> tuple[Tensor, Tensor]:
    """Convert histograms to colours: circular mean of the hue, median of the chroma, faded where the hue is undecided.

    ECCV 2016, section 3.3. The paper's chroma factor reads max(|z| / 0.03, 1); since it is meant to fade, the minimum
    is taken here. Probabilities ``[..., K]`` give hue in [0, 1) and chroma in [0, 1], ``[...]`` each.
    """
    bins = hue.shape[-1]
    angle = 2 * math.pi * (torch.arange(bins, device=hue.device) + 0.5) / bins
    east, north = (hue * angle.cos()).mean(-1), (hue * angle.sin()).mean(-1)  # z = east + i north
    below = chroma.cumsum(-1)
    middle = (below >= 0.5 * below[..., -1:]).long().argmax(-1, keepdim=True)
    inside = chroma.gather(-1, middle)
    part = (0.5 * below[..., -1:] - (below.gather(-1, middle) - inside)) / inside.clamp(min=1e-9)
    median = ((middle + part) / bins).squeeze(-1)
    return torch.atan2(north, east) / (2 * math.pi) % 1, median * (torch.hypot(east, north) / FADE).clamp(max=1)


def rarity_weights(classes: Tensor, kinds: int) -> Tensor:
    """Return weights ``[kinds]`` that favour rare classes and average 1 over ``classes``."""
    frequency = class_counts(classes, kinds) / classes.numel()
    weight = 1 / ((1 - MIXED) * frequency + MIXED / kinds)
    return weight / (frequency * weight).sum()
