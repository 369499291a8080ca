"""Cross-modal deep clustering (XDC).

H. Alwassel, D. Mahajan, B. Korbar, L. Torresani, B. Ghanem, D. Tran: Self-Supervised Learning by Cross-Modal
Audio-Video Clustering. NeurIPS 2020. https://arxiv.org/abs/1911.12667
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.encoders import AudioEncoder, Encoder
from avssl.methods.audiovisual.streams import AlignedClips, AudioVisualMethod
from avssl.methods.base import measured
from avssl.methods.clustering import kmeans, majority_share, nearest_centre
from avssl.methods.counters import HostNumber
from avssl.methods.distributed import gather


class XDC(AudioVisualMethod):
    """Predict the cluster of a clip's sound from its pictures, and that of its pictures from its sound.

    Features of each modality are clustered by k-means from time to time, and each encoder learns to classify its inputs
    by the clusters of the *other* modality (section 3, XDC).

    The paper clusters the whole collection after each epoch. Here the features of the last ``memory`` clips, after
    batch normalisation, are clustered every ``every`` steps, and a clip's pseudo-label is the cluster nearest to its
    current feature. K-means starts from random directions and continues from the previous clusters, so that labels keep
    their meaning; an empty cluster is moved to the vector that is farthest from its own cluster.

    Metrics: ``video_says_audio`` and ``audio_says_video``, accuracy over pseudo-labels. Chance is the fraction of the
    most frequent pseudo-label in the batch: the best constant answer.

    Args:
        clusters: k (paper: 64 on Kinetics).
        memory: number of features that are clustered.
        every: steps between two clusterings.
    """

    seen_memory: Tensor
    heard_memory: Tensor
    seen_centres: Tensor
    heard_centres: Tensor
    caption = "the clusters of this picture and of its sound"

    def __init__(
        self,
        encoder: Encoder,
        audio_encoder: AudioEncoder,
        sampler: AlignedClips | None = None,
        clusters: int = 64,
        memory: int = 4096,
        every: int = 100,
    ) -> None:
        super().__init__(encoder, audio_encoder, sampler or AlignedClips(num_frames=32, step=1 / 30))
        self.every = every
        self.seen_norm, self.heard_norm = (
            nn.BatchNorm1d(part.num_features, affine=False) for part in (encoder, audio_encoder)
        )
        for name, part in (("seen", encoder), ("heard", audio_encoder)):
            self.register_buffer(f"{name}_memory", torch.zeros(memory, part.num_features))
            self.register_buffer(f"{name}_centres", F.normalize(torch.randn(clusters, part.num_features), dim=1))
        self.stored, self.taken = HostNumber(self, "written"), HostNumber(self, "steps")  # features and steps so far
        self.video_head = nn.Linear(encoder.num_features, clusters)
        self.audio_head = nn.Linear(audio_encoder.num_features, clusters)
        self.fresh: list[tuple[Tensor, Tensor]] = []  # features of all forward passes of this step

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and metrics over B clips and their sounds."""
        seen = self.encoder(clips.video.flatten(0, 1))  # [B, D]
        heard = self.audio_encoder(self.sounds(clips))  # [B, D_a]
        with torch.no_grad():
            directions = [
                F.normalize(norm(features.float()), dim=1)
                for norm, features in ((self.seen_norm, seen), (self.heard_norm, heard))
            ]
            seen_labels = nearest_centre(directions[0], self.seen_centres)  # [B]
            heard_labels = nearest_centre(directions[1], self.heard_centres)
            if self.training:
                with torch.enable_grad():  # `gather` only gathers with gradients enabled
                    self.fresh.append((gather(directions[0])[0].detach(), gather(directions[1])[0].detach()))
        video, audio = self.video_head(seen).float(), self.audio_head(heard).float()  # [B, k]
        loss = (F.cross_entropy(video, heard_labels) + F.cross_entropy(audio, seen_labels)) / 2
        return measured(
            clips,
            loss,
            video_says_audio=(video.argmax(1) == heard_labels, majority_share(heard_labels, video.shape[1])),
            audio_says_video=(audio.argmax(1) == seen_labels, majority_share(seen_labels, audio.shape[1])),
        )

    def after_step(self, progress: float) -> None:
        """Store this step's features, and cluster again every ``every`` steps, which alone waits for the device."""
        seen, heard = (torch.cat(part) for part in zip(*self.fresh, strict=True))
        size, count, device = len(self.seen_memory), len(seen), self.seen_memory.device
        place = torch.arange(self.stored.value, self.stored.value + count, device=device) % size
        self.seen_memory[place], self.heard_memory[place] = seen, heard
        self.stored.set(self.stored.value + count)
        self.taken.set(self.taken.value + 1)
        self.fresh = []
        known = min(self.stored.value, size)
        if self.taken.value % self.every == 0 and known >= len(self.seen_centres):
            self.seen_centres.copy_(kmeans(self.seen_memory[:known], self.seen_centres))
            self.heard_centres.copy_(kmeans(self.heard_memory[:known], self.heard_centres))
