"""Bootstrap your own latent (BYOL) on clips.

J.-B. Grill et al.: Bootstrap Your Own Latent: A New Approach to Self-Supervised Learning. NeurIPS 2020. On clips:
C. Feichtenhofer, H. Fan, B. Xiong, R. Girshick, K. He: A Large-Scale Study on Unsupervised Spatiotemporal
Representation Learning. CVPR 2021.
"""

from __future__ import annotations

from itertools import permutations

from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.data.samplers import RandomClips
from avssl.encoders import Encoder
from avssl.methods.base import Method, measured
from avssl.methods.heads import projection
from avssl.methods.losses import mean_outputs, retrieval_accuracy
from avssl.methods.momentum import MomentumCopy


class BYOL(Method):
    """Predict a momentum encoder's projection of another clip of the same video, without negatives.

    Each of rho clips predicts all others (Feichtenhofer et al., section 3, equation 2; Grill et al., equation 2).

    Metric: ``accuracy``, whether the prediction's nearest target in the batch is of the same video. Chance is one over
    the number of videos, which is also the accuracy after collapse.

    Args:
        sampler: draws rho clips, anywhere in the video (Feichtenhofer et al.: rho is 2, better 4).
        hidden: width of the hidden layers of the projection and of the predictor (4096).
        out: width of the projection (256).
        momentum: initial momentum (0.996).
    """

    sampler: RandomClips

    def __init__(
        self,
        encoder: Encoder,
        sampler: RandomClips | None = None,
        hidden: int = 4096,
        out: int = 256,
        momentum: float = 0.996,
    ) -> None:
        super().__init__(encoder, sampler or RandomClips(2, 8, 0.267))
        if self.sampler.clips < 2:
            raise ValueError(f"BYOL: sampler.clips must be at least 2, got {self.sampler.clips}")
        self.head = projection(encoder.num_features, hidden, out)
        self.predictor = projection(out, hidden, out)
        self.copy = MomentumCopy(nn.Sequential(encoder, self.head), momentum)

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and accuracy over B videos of rho clips."""
        video = clips.video.flatten(0, 1)  # [B rho, T, 3, H, W]
        per_video = "(b rho) d -> rho b d"
        predicted = rearrange(self.predictor(self.head(self.encoder(video))).float(), per_video, b=len(clips))
        target = rearrange(self.copy(video).float(), per_video, b=len(clips))
        outputs = []
        for one, other in permutations(range(self.sampler.clips), 2):
            loss = 2 - 2 * F.cosine_similarity(predicted[one], target[other]).mean()
            outputs.append(measured(clips, loss, accuracy=retrieval_accuracy(predicted[one], target[other])))
        return mean_outputs(outputs, clips)

    def after_step(self, progress: float) -> None:
        """Update the momentum encoder."""
        self.copy.follow(nn.Sequential(self.encoder, self.head), progress)

    def describe(self, clips: Clips) -> list[list[str]]:
        """Name the video of each clip."""
        return [[f"video {video}"] * self.sampler.clips for video in range(len(clips))]
