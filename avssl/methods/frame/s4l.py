"""Rotation of images together with classification of the few labelled ones (S4L-Rotation).

X. Zhai, A. Oliver, A. Kolesnikov, L. Beyer: S4L: Self-Supervised Semi-Supervised Learning. ICCV 2019.
https://arxiv.org/abs/1905.03670
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.data.collection import column
from avssl.data.dataset import ClipDataset
from avssl.data.samplers import RandomClips
from avssl.encoders import Encoder
from avssl.methods.dense import class_counts
from avssl.methods.frame.rotnet import RotNet
from avssl.methods.temporal.rotation import turned


class S4L(RotNet):
    """Predict the rotation of a frame and, for labelled videos, its class.

    The loss is the cross-entropy of the class over labelled frames, plus ``weight`` times that of the rotation over all
    frames. Both are taken over all four rotations of a frame: a rotated picture keeps its class. ``data.labelled`` sets
    which videos are labelled; in a batch without any, the class costs nothing.

    Metrics: ``accuracy`` of the rotation, chance 1/4; ``class_accuracy``, one answer per video, from the mean score
    over rotations and frames; chance is the fraction of the most frequent class among the labels seen in training, with
    initial count 1 per class. For a video without a label ``class_accuracy`` is that chance.

    Args:
        classes: number of classes of the data.
        weight: weight of the rotation loss (w).
    """

    uses_labels = True
    seen: Tensor

    def __init__(self, encoder: Encoder, classes: int, sampler: RandomClips | None = None, weight: float = 1.0) -> None:
        super().__init__(encoder, sampler)
        self.weight = weight
        self.class_of = nn.Linear(encoder.num_features, classes)
        self.register_buffer("seen", torch.ones(classes))  # labels per class in training

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return the loss over 4·B·N rotated frames, and both accuracies."""
        features = self.encoder(turned(clips.video).flatten(0, 2))  # [B N 4, D]
        out = self.judged(features, clips)
        label = self._label(clips)
        known = label >= 0
        scores = self.class_of(features).float().unflatten(0, (len(clips), -1))  # [B, N 4, classes]
        frames = scores.shape[1]
        target = label.repeat_interleave(frames)  # [B N 4]
        costs = F.cross_entropy(scores.flatten(0, 1), target, ignore_index=-1, reduction="sum")
        out["loss"] = costs / (frames * known.sum()).clamp(min=1) + self.weight * out["loss"]
        if self.training:
            classes = len(self.seen)
            self.seen += class_counts(torch.where(known, label, classes), classes + 1)[:classes]
        chance = (self.seen.max() / self.seen.sum()).expand(len(clips))
        right = (scores.mean(1).argmax(1) == label).float()
        return {**out, "class_accuracy": torch.where(known, right, chance), "chance/class_accuracy": chance}

    def describe(self, clips: Clips) -> list[list[str]]:
        """Name the rotations, and the class if it is known."""
        classes = [f"class {label}" if label >= 0 else "no label" for label in self._label(clips).tolist()]
        turns = super().describe(clips)
        return [[f"{words}; {name}" for words in row] for name, row in zip(classes, turns, strict=True)]

    def _label(self, clips: Clips) -> Tensor:
        """Return the classes ``[B]``, -1 where unknown."""
        if clips.label is None:
            return torch.full((len(clips),), -1, device=clips.video.device)
        return clips.label

    def check(self, training: ClipDataset, held_out: ClipDataset) -> None:
        """Raise a ValueError if a video is of a class that the method doesn't have."""
        highest = -1
        for videos in (training.videos, held_out.videos):
            rows = {label: row for row, label in enumerate(column(videos, "label")) if label is not None}
            highest = max([highest, *(videos[row].label or 0 for row in rows.values())])  # one video of each class
        if highest >= len(self.seen):
            raise ValueError(f"S4L: a video is of class {highest}, but method.classes is {len(self.seen)}")
