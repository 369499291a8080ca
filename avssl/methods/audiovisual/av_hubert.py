"""Masked prediction of the clusters of sound and pictures (AV-HuBERT).

B. Shi, W.-N. Hsu, K. Lakhotia, A. Mohamed: Learning Audio-Visual Speech Representation by Masked Multimodal Cluster
Prediction. ICLR 2022. https://arxiv.org/abs/2201.02184
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
import torchaudio
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.encoders.hubert import HuBERTFrames, HuBERTSound
from avssl.methods.audiovisual.codebook import Codebook
from avssl.methods.audiovisual.spans import count_of, covered, draw_starts, substitutes
from avssl.methods.audiovisual.streams import AlignedClips, AudioVisualMethod
from avssl.methods.counters import HostNumber
from avssl.methods.dense import accuracy_and_chance, class_counts
from avssl.methods.distributed import gather, shared_mean
from avssl.methods.losses import inner_products
from avssl.runtime.checks import check_ranges

SOUND, FILLING, REFINED = range(3)  # stages: clusters of sound; features are remembered as well; clusters of features


class Hidden(NamedTuple):
    """What is masked of a batch.

    Attributes:
        shown: ``[M, T]`` int64, the frame that is shown in place of each.
        picture: ``[M, T]`` bool, frames that another takes the place of.
        sound: ``[M, T]`` bool, moments whose sound is blank.
    """

    shown: Tensor
    picture: Tensor
    sound: Tensor


class AVHuBERT(AudioVisualMethod):
    """Predict the clusters of masked moments from pictures and sound, each masked by itself.

    Every frame goes with the stacked log-mel columns of its sound. Their vectors are concatenated and pass a
    transformer over time (`avssl.encoders.hubert.Fusion`). Spans of frames are replaced by other spans of the same clip
    (section 3.3, masking by substitution), spans of sound by a learnt stack. A clip may lose one of its modalities as a
    whole (section 3.3, modality dropout). A moment's scores are cosines of the projected output and a learnt vector for
    each cluster, over a temperature (HuBERT: Hsu et al., 2021, equation 3). The loss is the cross-entropy over moments
    of which picture or sound is masked, plus ``unmasked`` times that over the others.

    Targets of the first iteration are clusters of the sound: cepstral coefficients (MFCC) of each frame's columns. When
    a share ``refine`` of the run is over, the network is copied. Its copy stays as it is, and when it has given
    ``memory`` features of clips of which nothing is hidden, from its block ``layer``, their clusters are the targets of
    the second iteration. They start from the means of the first clusters' features, so that labels keep their meaning,
    and the network goes on.

    The exported encoders are the network as it sees pictures alone, and as it hears sound alone.

    Metrics: ``masked``, accuracy over moments whose sound, and that of both neighbours, is masked (windows of
    neighbouring columns overlap); ``pictures``, accuracy when the sound is dropped, over moments whose picture isn't
    masked. Chance is the share of the most frequent cluster, or, if that is higher, what the predictions for another
    video score.

    Args:
        encoder: transformer over vectors of frames.
        audio_encoder: transformer over stacked columns, of the same size; its transformer becomes the encoder's.
        sampler: draws clips whose frames are a stack of columns apart, and sound that is a frame longer.
        clusters: number of clusters of either iteration (HuBERT's first: 100).
        picture_share: share of the frames that are masked, if spans did not overlap (0.3).
        picture_span: frames of a span (5).
        sound_share: share of the sound that is masked, if spans did not overlap (0.8).
        sound_span: moments of a span (10).
        both: probability that a clip keeps both modalities in training (0.5).
        sound_alone: probability that it keeps its sound if it keeps one (0.5).
        unmasked: weight of moments of which nothing is masked (0).
        hidden: channels of the vectors that are compared (256).
        temperature: of the softmax (0.1).
        coefficients: cepstral coefficients of a column.
        layer: block from which features of the second iteration come, counted from 1 (the authors': 9 of 12).
        memory: number of moments that are clustered.
        every: steps between two clusterings of sound.
        until: share of the run after which clusters of sound stay as they are.
        refine: share of the run after which the second iteration is prepared; 1 for none.

    Raises:
        ValueError: if the encoders' sizes differ, the frames are not as far apart as stacks of columns, or a clip is
            too short for its spans.
    """

    encoder: HuBERTFrames
    audio_encoder: HuBERTSound
    sampler: AlignedClips
    cosines: Tensor

    def __init__(
        self,
        encoder: HuBERTFrames,
        audio_encoder: HuBERTSound,
        sampler: AlignedClips | None = None,
        clusters: int = 100,
        picture_share: float = 0.3,
        picture_span: int = 5,
        sound_share: float = 0.8,
        sound_span: int = 10,
        both: float = 0.5,
        sound_alone: float = 0.5,
        unmasked: float = 0.0,
        hidden: int = 256,
        temperature: float = 0.1,
        coefficients: int = 13,
        layer: int = 9,
        memory: int = 65536,
        every: int = 100,
        until: float = 0.3,
        refine: float = 0.5,
    ) -> None:
        super().__init__(encoder, audio_encoder, sampler or AlignedClips(num_frames=50, step=0.04, sound=2.04))
        sizes = [[part.config[name] for name in ("width", "depth", "reach")] for part in (encoder, audio_encoder)]
        if sizes[0] != sizes[1]:
            raise ValueError(f"AVHuBERT: width, depth and reach of the encoders must be equal, got {sizes}")
        self.picture_share, self.picture_span = picture_share, picture_span
        self.sound_share, self.sound_span = sound_share, sound_span
        self.both, self.sound_alone, self.unmasked, self.temperature = both, sound_alone, unmasked, temperature
        self.layer, self.every, self.until, self.refine = layer, every, until, refine
        bands, stack = audio_encoder.mel.bands, audio_encoder.stack
        self._check(coefficients, bands)
        audio_encoder.fusion = encoder.fusion
        self.blank = nn.Parameter(torch.rand(bands * stack))
        self.project = nn.Linear(encoder.num_features, hidden)
        self.codes = nn.Parameter(torch.randn(clusters, hidden))
        self.teacher = copy.deepcopy(nn.ModuleList([encoder, audio_encoder])).requires_grad_(False).eval()
        cosines = torchaudio.functional.create_dct(coefficients, bands, norm="ortho").T.contiguous()
        self.register_buffer("cosines", cosines, persistent=False)  # [coefficients, bands]
        self.first = Codebook(coefficients * stack, clusters, memory)
        self.second = Codebook(encoder.num_features, clusters, memory)
        self.stage, self.taken = HostNumber(self, "stages"), HostNumber(self, "steps")
        self.fresh: list[tuple[Tensor, Tensor]] = []  # vectors and labels of all forward passes of this step

    def _check(self, coefficients: int, bands: int) -> None:
        probability, share = "[0, 1]", "(0, 1]"
        check_ranges("AVHuBERT", self, both=probability, sound_alone=probability, layer=f"[1, {self._depth}]")
        check_ranges("AVHuBERT", self, picture_share=share, sound_share=share, unmasked="[0, inf)")
        check_ranges("AVHuBERT", self, temperature="(0, inf)", picture_span="[1, inf)", sound_span="[1, inf)")
        check_ranges("AVHuBERT", {"coefficients": coefficients}, coefficients=f"[1, {bands}]")
        sampler, step = self.sampler, self.audio_encoder.step
        if abs(sampler.step - step) > 1e-6 or abs(sampler.heard - sampler.span - step) > 1e-6:
            raise ValueError(
                f"AVHuBERT: frames are {sampler.step:g} s apart and the sound lasts {sampler.heard:g} s, but columns "
                f"are stacked every {step:g} s: set sampler.step to {step:g} and sampler.sound to "
                f"{(sampler.num_frames + 1) * step:g}"
            )
        least = max(3 * self.picture_span - 1, self.sound_span)
        if sampler.num_frames < least:
            raise ValueError(
                f"AVHuBERT: spans of {self.picture_span} frames and {self.sound_span} moments of sound need clips of "
                f"at least {least} frames, got {sampler.num_frames}: set sampler.num_frames, or shorter spans"
            )

    @property
    def _depth(self) -> int:
        return len(self.encoder.fusion.blocks.layers)

    def train(self, mode: bool = True) -> AVHuBERT:
        """Set the mode; the copy from which features come stays in evaluation mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and metrics over B·N clips of T frames."""
        video = clips.video.flatten(0, 1)
        columns = self.audio_encoder.columns(self.sounds(clips))  # [B N, T, C]
        labels = self.targets(video, columns)  # [B N, T]
        hidden = self.hide(len(video), video.device)
        seen, heard = self.vectors(video, columns, hidden)
        scores = self.scores(*self.drop(seen, heard))  # [B N, T, K]
        masked = hidden.picture | hidden.sound
        lost = F.cross_entropy(scores.flatten(0, 1), labels.flatten(), reduction="none").view_as(labels)
        loss = shared_mean(lost, masked)
        if self.unmasked:
            loss = loss + self.unmasked * shared_mean(lost, ~masked)
        with torch.no_grad():
            near = F.max_pool1d((~hidden.sound).float()[:, None], 3, 1, 1)[:, 0] > 0  # a neighbour's sound is heard
            blind = class_counts(labels, len(self.codes)).argmax().expand_as(labels)
            answers = {"masked": (scores, ~near), "pictures": (self.scores(seen, None), ~hidden.picture)}
            metrics: dict[str, Tensor] = {}
            for name, (given, counted) in answers.items():
                parts = [part.reshape(len(clips), -1) for part in (given.argmax(2), labels, counted, blind)]
                metrics |= accuracy_and_chance(name, *parts)
        return {"loss": loss, **metrics}

    def hide(self, count: int, device: torch.device) -> Hidden:
        """Draw what is masked of ``count`` clips: M is ``count``."""
        length = self.sampler.num_frames
        spans = count_of(self.picture_share, self.picture_span, length)
        starts = draw_starts(count, spans, self.picture_span, length, device)
        shown = substitutes(starts, self.picture_span, length)
        picture = covered(starts, self.picture_span, length)
        spans = count_of(self.sound_share, self.sound_span, length)
        sound = covered(draw_starts(count, spans, self.sound_span, length, device), self.sound_span, length)
        return Hidden(shown, picture, sound)

    def vectors(self, video: Tensor, columns: Tensor, hidden: Hidden) -> tuple[Tensor, Tensor]:
        """Return the vectors ``[M, T, D]`` of frames ``[M, T, 3, H, W]`` and of columns ``[M, T, C]``, masked."""
        seen = self.encoder.vectors(replaced(video, hidden.shown))
        heard = self.audio_encoder.project(torch.where(hidden.sound[..., None], self.blank, columns))
        return seen, heard

    def drop(self, seen: Tensor, heard: Tensor) -> tuple[Tensor, Tensor]:
        """Set one modality ``[M, T, D]`` of some clips to zero, in training."""
        if not self.training:
            return seen, heard
        chance = torch.rand(len(seen), 2, 1, 1, device=seen.device)
        both, sound = chance[:, 0] < self.both, chance[:, 1] < self.sound_alone  # [M, 1, 1]
        return seen * (both | ~sound), heard * (both | sound)

    def scores(self, seen: Tensor, heard: Tensor | None) -> Tensor:
        """Return the score ``[M, T, K]`` float32 of each cluster."""
        found = F.normalize(self.project(self.encoder.fusion(seen, heard)).float(), dim=2)
        return inner_products(found, F.normalize(self.codes, dim=1)) / self.temperature

    @torch.no_grad()
    def targets(self, video: Tensor, columns: Tensor) -> Tensor:
        """Return the cluster ``[M, T]`` of each moment of which nothing is masked, and remember it in training."""
        if self.stage.value == REFINED:
            return self.second.labels(self.features(video, columns))
        sounds = self.cepstra(columns)
        labels = self.first.labels(sounds)
        if self.training:
            vectors = sounds if self.stage.value == SOUND else self.features(video, columns)
            with torch.enable_grad():  # `gather` only gathers with gradients enabled
                every, names = gather(vectors.flatten(0, 1))[0], gather(labels.flatten())[0]
            self.fresh.append((every.detach(), names))
        return labels

    @torch.no_grad()
    def features(self, video: Tensor, columns: Tensor) -> Tensor:
        """Return the features ``[M, T, D]`` float32 that the copy makes of frames and columns."""
        frames, sound = self.teacher
        assert isinstance(frames, HuBERTFrames)
        assert isinstance(sound, HuBERTSound)
        return frames.fusion.layer(frames.vectors(video), sound.project(columns), self.layer).float()

    def cepstra(self, columns: Tensor) -> Tensor:
        """Return the cepstral coefficients ``[M, T, stack * coefficients]`` of stacked columns ``[M, T, C]``."""
        mel = rearrange(columns, "m t (s f) -> m t s f", s=self.audio_encoder.stack)
        return inner_products(mel, self.cosines).flatten(2)

    def after_step(self, progress: float) -> None:
        """Remember this step's vectors; cluster those of sound every ``every`` steps, and those of features once.

        Clustering alone waits for the device.
        """
        self.taken.set(self.taken.value + 1)
        if self.fresh:
            book = self.first if self.stage.value == SOUND else self.second
            book.add(*(torch.cat(part) for part in zip(*self.fresh, strict=True)))
            self.fresh = []
        if self.stage.value == FILLING and self.second.full:
            self.second.cluster_by_names()
            self.stage.set(REFINED)
        if self.stage.value != SOUND:
            return
        due = self.taken.value % self.every == 0 and self.first.known >= len(self.codes)
        if due and (progress <= self.until or not self.first.made.value):
            self.first.cluster()
        if progress > self.refine:
            live = nn.ModuleList([self.encoder, self.audio_encoder]).state_dict()
            for name, tensor in self.teacher.state_dict().items():
                tensor.copy_(live[name])
            self.stage.set(FILLING)

    def describe(self, clips: Clips) -> list[list[str]]:
        """Name the cluster of each moment's sound: the targets of the first iteration."""
        labels = self.first.labels(self.cepstra(self.audio_encoder.columns(self.sounds(clips))))
        rows = labels.unflatten(0, clips.video.shape[:2]).tolist()
        return [["clusters " + " ".join(map(str, clip)) for clip in row] for row in rows]

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """Return the frames that are shown, and the columns of sound that are heard; what is blank is grey."""
        video = clips.video.flatten(0, 1)
        columns = self.audio_encoder.columns(self.sounds(clips))
        hidden = self.hide(len(video), video.device)
        shown = clips.denormalise(replaced(video, hidden.shown))
        mel = rearrange(columns, "m t (s f) -> m t f s", s=self.audio_encoder.stack).flip(2)  # low bands below
        heard = torch.where(hidden.sound[..., None, None], 0.5, (mel / 6 + 0.5).clamp(0, 1))
        tiles = heard[:, :, None].expand(-1, -1, 3, -1, -1)
        return {name: part.unflatten(0, clips.video.shape[:2]) for name, part in (("seen", shown), ("heard", tiles))}


def replaced(video: Tensor, shown: Tensor) -> Tensor:
    """Return clips ``[M, T, 3, H, W]`` with the frames ``[M, T]`` in place of their own."""
    return video[torch.arange(len(video), device=video.device)[:, None], shown]
