"""Audio-visual instance discrimination (AVID).

P. Morgado, N. Vasconcelos, I. Misra: Audio-Visual Instance Discrimination with Cross-Modal Agreement. CVPR 2021.
https://arxiv.org/abs/2004.12943
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.data.dataset import ClipDataset
from avssl.encoders import AudioEncoder, Encoder
from avssl.methods.audiovisual.bank import InstanceBank
from avssl.methods.audiovisual.streams import AlignedClips, AudioVisualMethod
from avssl.methods.base import measured
from avssl.methods.counters import HostNumber
from avssl.methods.distributed import gather
from avssl.methods.heads import projection
from avssl.methods.losses import inner_products


class AVID(AudioVisualMethod):
    """Match each clip to its sound, and each sound to its clip.

    Both streams are projected onto one sphere, and each clip must be matched to its sound among those of other videos,
    and each sound to its clip (Cross-AVID, section 3.2; within-modality discrimination made features worse there).

    Negatives are the other videos of the batch, over all processes, in a softmax; or, with a ``bank``, the paper's:
    vectors of other videos in a memory (`InstanceBank`), by noise-contrastive estimation. A clip's positive is then its
    sound's vector in the memory. From the progress ``agreement`` on, *cross-modal agreement* (section 4) adds a second
    loss, within each modality: the videos that agree most with a clip's own, in pictures and in sound, are its
    positives, found once, when that stage begins; negatives never are among them.

    Metrics: ``video_to_audio`` and ``audio_to_video``, 1 if the partner is the nearest in the batch; chance is one over
    the number of videos in it. The loss on held-out videos, which have no place in the memory, has the partner in the
    batch as positive.

    Args:
        sampler: draws a clip and its sound (paper: 0.5 s of video and 2 s of sound).
        hidden: size of the projection heads' hidden layers (paper: 512).
        out: dimension of the common space (paper: 128).
        layers: linear layers per head (paper: 3).
        temperature: softmax temperature (paper: 0.07).
        batch_norm: normalise the heads' hidden layers by the batch (authors' code: false).
        bank: number of training videos, each of which has a place in the memory; 0 for negatives of the batch.
        negatives: vectors of the memory that a clip is contrasted with (paper: 1024).
        momentum: share that a vector in the memory keeps when its video comes again (paper: 0.5).
        agreement: progress in [0, 1) from which on positives are found by agreement; None for never.
        positives: videos that agree, per video (paper: 32).
        within: negatives of the loss within a modality, at most ``negatives`` (authors' config: 64).
    """

    members: Tensor
    sampler: AlignedClips

    def __init__(
        self,
        encoder: Encoder,
        audio_encoder: AudioEncoder,
        sampler: AlignedClips | None = None,
        hidden: int = 512,
        out: int = 128,
        layers: int = 3,
        temperature: float = 0.07,
        batch_norm: bool = True,
        bank: int = 0,
        negatives: int = 1024,
        momentum: float = 0.5,
        agreement: float | None = None,
        positives: int = 32,
        within: int = 64,
    ) -> None:
        super().__init__(encoder, audio_encoder, sampler or AlignedClips(num_frames=8, step=0.0625))
        if self.sampler.clips != 1:
            raise ValueError(f"AVID: sampler.clips must be 1, a video is one instance; got {self.sampler.clips}")
        if agreement is not None and bank <= positives + 1:
            raise ValueError(f"AVID: agreement needs a bank of more than {positives + 1} videos, got bank={bank}")
        self.video_head = projection(encoder.num_features, hidden, out, layers, batch_norm)
        self.audio_head = projection(audio_encoder.num_features, hidden, out, layers, batch_norm)
        self.temperature, self.agreement, self.positives, self.within = temperature, agreement, positives, within
        self.bank = InstanceBank(bank, out, negatives, momentum, temperature) if bank else None
        if agreement is not None:
            self.agreed = HostNumber(self, "stage")  # 1 once positives have been found
            self.register_buffer("members", torch.zeros(bank, positives + 1, dtype=torch.long))
        self.fresh: list[tuple[Tensor, Tensor, Tensor]] = []  # index and vectors of all forward passes of this step

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and metrics over B pairs."""
        seen = self.video_head(self.encoder(clips.video.flatten(0, 1)))
        heard = self.audio_head(self.audio_encoder(self.sounds(clips)))
        seen, heard = (F.normalize(vectors.float(), dim=1) for vectors in (seen, heard))  # [B, out] each
        (every_seen, offset), (every_heard, _) = gather(seen), gather(heard)  # [world B, out] each
        there, back = inner_products(seen, every_heard), inner_products(heard, every_seen)  # [B, world B]
        target = torch.arange(len(clips), device=seen.device) + offset
        if self.bank is None:
            losses = [F.cross_entropy(cosines / self.temperature, target) for cosines in (there, back)]
            loss = (losses[0] + losses[1]) / 2
        elif self.training:
            loss = self._recalled(self.bank, seen, heard, clips.index)
            assert clips.index is not None
            self.fresh.append((gather(clips.index)[0], every_seen.detach(), every_heard.detach()))
        else:
            anyone = self.bank.others(target.new_zeros(len(clips), 0))
            loss = self._across(self.bank, seen, heard, seen, heard, anyone)
        chance = 1 / len(every_seen)
        to_audio, to_video = (cosines.argmax(1) == target for cosines in (there, back))
        return measured(clips, loss, video_to_audio=(to_audio, chance), audio_to_video=(to_video, chance))

    def _recalled(self, bank: InstanceBank, seen: Tensor, heard: Tensor, index: Tensor | None) -> Tensor:
        """Return the loss of ``[B, out]`` vectors against the memory's of their videos ``[B]`` and of others."""
        if index is None:
            raise ValueError("AVID: a bank needs to know which videos these are, but Clips.index is None")
        agreed = self.agreement is not None and bool(self.agreed.value)
        members = self.members[index] if agreed else index[:, None]  # [B, P + 1], or the video alone
        others = bank.others(members)  # [B, K]
        loss = self._across(bank, seen, heard, bank.seen[index], bank.heard[index], others)
        if not agreed:
            return loss
        alike = members.masked_fill(members == index[:, None], -1).sort(1).values[:, 1:]  # [B, P], without the video
        few = others[:, : self.within]
        parts = [
            bank.loss(bank.scores(vectors, kept[alike]), bank.scores(vectors, kept[few]))
            for vectors, kept in ((seen, bank.seen), (heard, bank.heard))
        ]
        return loss + (parts[0] + parts[1]) / 2

    def _across(
        self, bank: InstanceBank, seen: Tensor, heard: Tensor, own_seen: Tensor, own_heard: Tensor, others: Tensor
    ) -> Tensor:
        """Return the loss of pictures against sounds and of sounds against pictures; the partners are constants."""
        parts = [
            bank.loss(bank.scores(vectors, own.detach()[:, None]), bank.scores(vectors, kept[others]))
            for vectors, own, kept in ((seen, own_heard, bank.heard), (heard, own_seen, bank.seen))
        ]
        return (parts[0] + parts[1]) / 2

    def check(self, training: ClipDataset, held_out: ClipDataset) -> None:
        """Raise a ValueError if the memory has not as many places as there are videos to train on."""
        if self.bank is not None and len(self.bank.seen) != len(training):
            raise ValueError(
                f"AVID: method.bank is {len(self.bank.seen)}, but there are {len(training)} videos to train on: "
                f"set it to {len(training)}"
            )

    def after_step(self, progress: float) -> None:
        """Store this step's vectors; find positives once, when the stage of agreement begins."""
        if self.bank is None:
            return
        for index, seen, heard in self.fresh:
            self.bank.update(index, seen, heard)
        self.fresh = []
        if self.agreement is not None and progress >= self.agreement and not self.agreed.value:
            self.members.copy_(self.bank.agreeing(self.positives))
            self.agreed.set(1)

    def describe(self, clips: Clips) -> list[list[str]]:
        """Name the pair of clip and sound by its number."""
        return [[f"pair {video}"] for video in range(len(clips))]
