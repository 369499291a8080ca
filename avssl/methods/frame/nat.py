"""Noise as targets (NAT).

P. Bojanowski, A. Joulin: Unsupervised Learning by Predicting Noise. ICML 2017. https://arxiv.org/abs/1704.05310
"""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.data.dataset import ClipDataset
from avssl.encoders import Encoder
from avssl.methods.base import Method, measured
from avssl.methods.counters import HostNumber
from avssl.methods.distributed import gather
from avssl.methods.frame.exemplar import Views
from avssl.methods.losses import inner_products, retrieval_accuracy


class NoiseAsTargets(Method):
    """Predict for every picture a point of its own, fixed at random, that may be exchanged for another picture's.

    Targets are random unit vectors, drawn once, one for each training video (section 3). The loss is the squared
    distance of a picture's unit vector from its target. In every third epoch the pictures of a batch
    exchange their targets so that the sum of distances is least, by the Hungarian algorithm:
    similar pictures come to near targets, and the features spread evenly over the sphere, so that they can't collapse.

    Without an item's number, and for held-out videos, which have no target, the loss is the distance from the nearest
    of all targets.

    Metric: ``accuracy``, how often the nearest other picture of the batch is another view of the same frame, by cosine
    of the vectors; chance is one over the number of videos.

    The paper shows one view; here several share a target, of which two are compared by the metric.

    Args:
        encoder: of frames.
        sampler: draws one frame, N times.
        targets: number of targets, at least that of training videos.
        out: numbers of a target (paper: 2048).
        every: epochs from one in which targets are exchanged to the next.

    Raises:
        ValueError: by `check`, if there are more training videos than targets.
    """

    points: Tensor
    own: Tensor
    caption = "a random vector of its own"

    def __init__(
        self, encoder: Encoder, sampler: Views | None = None, targets: int = 4096, out: int = 128, every: int = 3
    ) -> None:
        super().__init__(encoder, sampler or Views(clips=2))
        self.every = every
        self.head = nn.Linear(encoder.num_features, out)
        self.register_buffer("points", F.normalize(torch.randn(targets, out), dim=1))
        self.register_buffer("own", torch.arange(targets))  # number of each video's target
        self.shown = HostNumber(self, "seen")  # training videos so far
        self.videos = targets  # of which an epoch consists; `check` knows better
        self.fresh: list[tuple[Tensor, Tensor]] = []  # numbers and vectors of all forward passes of this step

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and accuracy over N views of each of B frames."""
        views = F.normalize(self.head(self.encoder(clips.video.flatten(0, 1))).float(), dim=1)
        views = views.unflatten(0, clips.video.shape[:2])  # [B, N, D]
        if self.training and clips.index is not None:
            aim = self.points[self.own[clips.index]]
            self.fresh.append((gather(clips.index)[0], gather(views)[0].detach().mean(1)))
        else:
            aim = self.points[inner_products(views.detach().mean(1), self.points).argmax(1)]
        loss = (views - aim[:, None]).square().sum(2).mean()
        return measured(clips, loss, accuracy=retrieval_accuracy(views[:, 0], views[:, 1]))

    def after_step(self, progress: float) -> None:
        """Exchange the targets of this step's videos in every third epoch, which alone waits for the device."""
        fresh, self.fresh = self.fresh, []
        for index, vectors in fresh:
            epoch = self.shown.value // self.videos
            self.shown.set(self.shown.value + len(index))
            if epoch % self.every == self.every - 1:
                self.exchange(index, vectors)

    def exchange(self, index: Tensor, vectors: Tensor) -> None:
        """Give ``[B]`` videos of ``[B, D]`` vectors each other's targets, so that the sum of distances is least."""
        first = index.unique()  # a video that is there twice has one target all the same
        place = (index == first[:, None]).int().argmax(1)
        numbers = self.own[first]
        cosines = inner_products(vectors[place], self.points[numbers])
        rows, columns = linear_sum_assignment(cosines.cpu().numpy(), maximize=True)
        self.own[first[rows]] = numbers[columns]

    def check(self, training: ClipDataset, held_out: ClipDataset) -> None:
        """Raise a ValueError if there are more training videos than targets."""
        if len(training) > len(self.points):
            raise ValueError(
                f"NoiseAsTargets: {len(training)} training videos, but {len(self.points)} targets: raise method.targets"
            )
        self.videos = len(training)
