"""Split-brain autoencoders.

R. Zhang, P. Isola, A. A. Efros: Split-Brain Autoencoders: Unsupervised Learning by Cross-Channel Prediction. CVPR 2017.
https://arxiv.org/abs/1611.09842
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.data.samplers import RandomClips
from avssl.data.transforms import coloured
from avssl.encoders import SplitResNet
from avssl.labels import ab_bins, lab_to_rgb, rgb_to_lab
from avssl.methods.base import Method
from avssl.methods.maps import MapHead, by_cells, chance, likeliest, share

BRIGHT = 4.0  # L units within which two cells count as equally bright, for the chance level


class SplitBrain(Method):
    """Which colour has each part of a frame, from its lightness; and how light is it, from its colour?

    The network is two halves that share nothing. One sees L and predicts a and b, the other sees a and b and predicts
    L; each is a classification of every cell over quantised bins, and their losses are added (equations 1 to 3; the
    paper's best variant classifies both). What is kept is both halves, their features side by side, so that it is
    trained on the whole picture although each half saw a part.

    Metrics: ``colour`` and ``light``, accuracy over the bins. Chance is the best of three blind answers: the most
    frequent bin of other videos; the most frequent where the other channels are alike in that cell; and what the method
    answers to another video.

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
        self.sampler = sampler or RandomClips(frames=1)
        self.register_buffer("bins", ab_bins(step), persistent=False)  # [Q, 2]
        self.colour = MapHead(encoder.light, len(self.bins), width)
        self.light = MapHead(encoder.colour, levels, width)

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Loss and metrics over the cells of B·N·T frames."""
        colour, light, lab = self._predicted(clips)
        target = {"colour": self.nearest(lab[:, 1:]), "light": (lab[:, 0] * self.levels / 100).long()}
        target["light"] = target["light"].clamp(0, self.levels - 1)
        given = {"colour": (lab[:, 0].clamp(0, 100) / BRIGHT).long(), "light": target["colour"]}
        loss = torch.zeros((), device=lab.device)
        out: dict[str, Tensor] = {}
        for name, scores in (("colour", colour), ("light", light)):
            loss = loss + F.cross_entropy(scores, target[name])
            answer, right, known = (
                part.reshape(len(clips), -1) for part in (scores.argmax(1), target[name], given[name])
            )

            def score(guess: Tensor, right: Tensor = right) -> Tensor:
                return share(guess == right, torch.ones_like(right, dtype=torch.bool))

            out[name] = score(answer)
            out[f"chance/{name}"] = chance(score, answer, likeliest(right), likeliest(right, known))
        return {"loss": loss, **out}

    def nearest(self, ab: Tensor) -> Tensor:
        """``[M, 2, h, w]`` to the number ``[M, h, w]`` of the nearest bin."""
        return torch.cdist(ab.permute(0, 2, 3, 1).flatten(0, 2), self.bins).argmin(1).view(len(ab), *ab.shape[2:])

    def _predicted(self, clips: Clips) -> tuple[Tensor, Tensor, Tensor]:
        """Logits ``[M, Q, h, w]`` of colour and ``[M, levels, h, w]`` of light, and the true Lab ``[M, 3, h, w]``."""
        frames = clips.video.flatten(0, 2)  # [M, 3, H, W]
        light, colour = self.encoder.halves(frames[:, None])
        scores = self.colour(light)
        return scores, self.light(colour), by_cells(rgb_to_lab(coloured(frames)), scores.shape[-2:])

    def describe(self, clips: Clips) -> list[list[str]]:
        """Both directions."""
        return [["colour from light, light from colour"] * clips.video.shape[1]] * len(clips)

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """The frames by cells; colours predicted from their lightness; lightness predicted from their colours."""
        colour, light, lab = self._predicted(clips)
        ab = torch.einsum("mqhw,qc->mchw", colour.softmax(1), self.bins)
        levels = (torch.arange(self.levels, device=lab.device) + 0.5) * 100 / self.levels
        bright = torch.einsum("mlhw,l->mhw", light.softmax(1), levels)[:, None]
        drawn = {
            "target": lab,
            "colour from light": torch.cat([lab[:, :1], ab], 1),
            "light from colour": torch.cat([bright, lab[:, 1:]], 1),
        }
        return {name: lab_to_rgb(part).unflatten(0, clips.video.shape[:3]) for name, part in drawn.items()}
