"""Audio-visual instance discrimination (AVID).

P. Morgado, N. Vasconcelos, I. Misra: Audio-Visual Instance Discrimination with Cross-Modal Agreement. CVPR 2021.
https://arxiv.org/abs/2004.12943
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.encoders import AudioEncoder, Encoder
from avssl.methods.audiovisual.streams import AlignedClips, AudioVisualMethod
from avssl.methods.base import measured
from avssl.methods.distributed import gather
from avssl.methods.heads import projection
from avssl.methods.losses import inner_products


class AVID(AudioVisualMethod):
    """Match each clip to its sound, and each sound to its clip.

    Both streams are projected onto one sphere, and each clip must be matched to its sound among those of other videos,
    and each sound to its clip (Cross-AVID, section 3.2; within-modality discrimination made features worse there).

    Negatives are the other videos of the batch, over all processes, in a softmax. The paper's memory of one vector per
    instance would have to record which video a vector is from, lest older versions of the positive count as negatives.

    Metrics: ``video_to_audio`` and ``audio_to_video``, 1 if the partner is the nearest in the batch; chance is one over
    the number of videos in it.

    Args:
        sampler: draws a clip and its sound (paper: 0.5 s of video and 2 s of sound).
        hidden: size of the projection heads' hidden layers (paper: 512).
        out: dimension of the common space (paper: 128).
        layers: linear layers per head (paper: 3).
        temperature: softmax temperature (paper: 0.07).
    """

    def __init__(
        self,
        encoder: Encoder,
        audio_encoder: AudioEncoder,
        sampler: AlignedClips | None = None,
        hidden: int = 512,
        out: int = 128,
        layers: int = 3,
        temperature: float = 0.07,
    ) -> None:
        super().__init__(encoder, audio_encoder, sampler or AlignedClips(num_frames=8, step=0.0625))
        self.video_head = projection(encoder.num_features, hidden, out, layers)
        self.audio_head = projection(audio_encoder.num_features, hidden, out, layers)
        self.temperature = temperature

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and metrics over B pairs."""
        seen = self.video_head(self.encoder(clips.video.flatten(0, 1)))
        heard = self.audio_head(self.audio_encoder(self.sounds(clips)))
        seen, heard = (F.normalize(vectors.float(), dim=1) for vectors in (seen, heard))  # [B, out] each
        (every_seen, offset), (every_heard, _) = gather(seen), gather(heard)  # [world B, out] each
        there, back = inner_products(seen, every_heard), inner_products(heard, every_seen)  # [B, world B]
        target = torch.arange(len(clips), device=seen.device) + offset
        losses = [F.cross_entropy(cosines / self.temperature, target) for cosines in (there, back)]
        loss, chance = (losses[0] + losses[1]) / 2, 1 / len(every_seen)
        to_audio, to_video = (cosines.argmax(1) == target for cosines in (there, back))
        return measured(clips, loss, video_to_audio=(to_audio, chance), audio_to_video=(to_video, chance))

    def describe(self, clips: Clips) -> list[list[str]]:
        """Name the pair of clip and sound by its number."""
        return [[f"pair {video}"] for video in range(len(clips))]
