from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.encoders import MC3, VGG, EarlyFusion, Fused, save_encoder
from avssl.encoders.export import load
from avssl.media import AudioInfo, VideoInfo
from avssl.methods import AVID, AVTS, XDC, OwensEfros, SparseSync, SyncNet
from avssl.methods.audiovisual.avts import HardClips
from avssl.methods.audiovisual.owens_efros import ShiftedSound, aligned
from avssl.methods.audiovisual.sparse_sync import OffsetClip
from avssl.methods.audiovisual.streams import AlignedClips, audio_delay, valid_audio
from avssl.methods.audiovisual.syncnet import diagonal_means, ranking
from avssl.methods.clustering import kmeans, nearest_centre
from avssl.methods.losses import contrastive
from avssl.pixels import MEAN, STD
from avssl.sync.network import Synchroniser

CARD = {"mean": [0.4, 0.4, 0.4], "std": [0.2, 0.2, 0.2], "size": [32, 32]}
SHORT = VideoInfo(Path("talk.mp4"), 1.24, 25.0, (80, 80), AudioInfo(16000, 1, 0.0, 1.16, "aac"))
LONG = VideoInfo(Path("long.mp4"), 4.0, 25.0, (80, 80), AudioInfo(16000, 1, 0.1, 3.8, "aac"))


def draws(sampler, info, count=400):
    rng = torch.Generator().manual_seed(0)
    return [sampler(info, rng) for _ in range(count)]


@pytest.mark.parametrize(
    ("sampler", "info"),
    [
        (AlignedClips(3, 5, 0.04, apart=0.2), SHORT),
        (HardClips(5, 0.04, gap=0.2), SHORT),
        (ShiftedSound(10, 0.04, 0.2, 0.6), SHORT),
        (OffsetClip(16, 0.04, 0.2, 5), LONG),
        (HardClips(16, 0.04, gap=0.5), LONG),
    ],
)
def test_all_is_read_where_there_is_sound_and_clips_begin_on_a_frame(sampler, info):
    for times, audio, _ in draws(sampler, info):
        assert audio.min() >= info.audio.start - 1e-9
        assert audio.max() <= info.audio.start + info.audio.duration + 1e-9
        assert times.min() >= 0
        assert times.max() < info.duration
        if not isinstance(sampler, OffsetClip):  # whose grid is far coarser than a frame
            assert (times[:, 0] * info.fps) == pytest.approx((times[:, 0] * info.fps).round(), abs=1e-6)


def test_the_place_of_the_sound_does_not_tell_aligned_from_shifted():
    """On recordings hardly longer than a clip, a fixed place of the sound would be the answer."""
    starts = {True: [], False: []}
    for times, audio, _ in draws(ShiftedSound(10, 0.04, 0.2, 0.6), SHORT, 1200):
        shift = (audio[:, 0] - times[:, 0]).abs()
        assert sorted(shift > 1e-6) == [False, True]
        assert shift.max() >= 0.2 - 1e-9
        for start, moved in zip(audio[:, 0].tolist(), shift.tolist(), strict=True):
            starts[moved < 1e-6].append(start)
    one, other = (torch.tensor(starts[key]).sort().values for key in (True, False))
    grid = torch.linspace(0, 0.8, 100, dtype=one.dtype)
    gap = (torch.searchsorted(one, grid) - torch.searchsorted(other, grid)).abs().max() / len(one)
    assert gap < 0.08  # Kolmogorov-Smirnov: 1 in 1000 by chance


def test_hard_clips_hold_what_every_stage_needs():
    sampler = HardClips(16, 0.04, gap=0.5, reach=2.0)
    for times, _, _ in draws(sampler, LONG):
        first, far, near = times[:, 0].tolist()
        assert 1.14 - 0.04 <= abs(far - first) <= 2.0 + 0.041  # a frame less or more: pictures begin on a frame
        assert 0 < abs(near - first) < 0.64


def test_the_picture_does_not_tell_the_offset_and_late_sound_is_taken_from_earlier():
    sampler = OffsetClip(16, 0.04, 0.2, 5)
    drawn = draws(sampler, LONG, 2000)
    early = torch.stack([audio[0, 0] - times[0, 0] for times, audio, _ in drawn])
    starts = torch.stack([times[0, 0] for times, _, _ in drawn])
    for offset in sampler.grid * torch.arange(-2, 3):
        chosen = starts[(early - offset).abs() < 1e-6]
        assert len(chosen) > 300
        assert chosen.mean().item() == pytest.approx(starts.mean().item(), abs=0.12)
    clips = Clips(
        torch.zeros(1, 1, 2, 3, 8, 8), torch.tensor([[[1.0, 1.04]]]), audio_times=torch.tensor([[[0.6, 1.6]]])
    )
    assert audio_delay(clips).item() == pytest.approx(0.4)
    method = SparseSync(EarlyFusion(8), VGG(8), sampler, width=16, heads=2, layers=1)
    assert method.target(clips).item() == 4
    assert method.describe(clips) == [["sound is 400 ms late"]]


def test_sounds_may_keep_their_bands_of_frequency():
    torch.manual_seed(0)
    sampler, sizes = OffsetClip(16, 0.04, 0.2, 5), {"width": 16, "heads": 2, "layers": 1}
    method = SparseSync(EarlyFusion(8), VGG(8), sampler, **sizes, bands=4).eval()
    clips = clips_of(n=1, b=2, frames=16)
    spectral = method.audio_encoder.spectral_maps(method.sounds(clips))  # [B, D, 8, T']
    torch.testing.assert_close(spectral.mean(2), method.audio_encoder.maps(method.sounds(clips)))
    tokens = method._audio_tokens(method.sounds(clips), 0.64).unflatten(1, (4, -1))
    assert tokens.shape == (2, 4, spectral.shape[3], 16)
    mixed = spectral[:, :, torch.randperm(8)]  # the same mean over bands
    method.audio_encoder.spectral_maps = lambda sounds: mixed
    assert not torch.allclose(method._audio_tokens(method.sounds(clips), 0.64).unflatten(1, (4, -1)), tokens, atol=1e-3)
    method(clips)["loss"].backward()
    assert method.band.grad.abs().sum() > 0


def clips_of(n=2, b=3, frames=5, step=0.04, audio_times=None):
    torch.manual_seed(0)
    times = torch.rand(b, n, 1, dtype=torch.float64).mul(25).round().div(25) + torch.arange(frames) * step
    spans = torch.stack([times[..., 0], times[..., 0] + frames * step], -1) if audio_times is None else audio_times
    samples = 0.1 * torch.randn(b, n, round(frames * step * 16000))
    pixels = (256 * torch.rand(b, n, frames, 3, 32, 32)).byte()
    return Clips(pixels, times, samples, spans, spans.clone()).normalised(torch.tensor(MEAN), torch.tensor(STD))


def test_clips_of_one_video_are_equally_silent():
    clips = clips_of()
    clips.audio_valid[0, 0, 1] -= 0.1  # the first clip of the first video reaches 0.1 s beyond the sound
    clips.audio_valid[1, 1, 0] += 0.05
    heard = valid_audio(clips, VGG(8), 0.2)
    quiet = heard == 0
    assert torch.equal(quiet[:, 0], quiet[:, 1])
    assert quiet.float().mean((1, 2)).tolist() == pytest.approx([0.5, 0.25, 0.0], abs=0.002)
    assert torch.equal(heard[2], clips.audio[2])
    with pytest.raises(ValueError, match=r"set data\.audio_rate to 8000"):
        valid_audio(clips, VGG(8, rate=8000), 0.2)


def test_contrastive_is_equation_1_of_avts():
    distance, together = torch.tensor([0.2, 0.5, 1.4]), torch.tensor([True, False, False])
    total = contrastive(distance, together, True, 0.99) + contrastive(distance, ~together, False, 0.99)
    assert total.item() == pytest.approx(0.2**2 + ((0.99 - 0.5) ** 2 + 0) / 2)
    assert contrastive(distance, torch.zeros(3, dtype=torch.bool), True, 0.99).item() == 0


def test_the_curriculum_follows_progress_and_survives_a_resume():
    method = AVTS(MC3(8), VGG(8), HardClips(5, 0.04, 0.2), hidden=16, out=8)
    assert method.stage() == (1.0, 0.0, 0.0)
    method.after_step(0.6)
    assert method.stage() == (0.75, 0.25, 0.0)
    again = AVTS(MC3(8), VGG(8), HardClips(5, 0.04, 0.2), hidden=16, out=8)
    again.load_state_dict(method.state_dict())
    assert again.stage() == (0.75, 0.25, 0.0)
    with pytest.raises(ValueError, match="must start at 0"):
        AVTS(MC3(8), VGG(8), curriculum=((0.5, 1.0, 0.0, 0.0),))


def test_the_target_is_in_the_times_alone():
    clips = clips_of(frames=8)
    method = OwensEfros(Fused(8), ShiftedSound(8, 0.04, 0.2, 0.6)).eval()
    spans = clips.audio_times.clone()
    spans[:, 1] += 0.4
    shifted = replace(clips, audio_times=spans, audio_valid=spans.clone())
    assert aligned(shifted).tolist() == 3 * [[True, False]]
    other = replace(clips, audio_times=spans.flip(1) - spans.flip(1)[..., :1] + clips.times[..., :1])
    assert aligned(other).all()
    assert method(shifted)["loss"] != method(clips)["loss"]
    assert method.describe(shifted)[0] == ["in sync", "sound is 400 ms early"]
    drawn = method.pictures(shifted)["where it hears"]
    assert drawn.shape[:2] == (3, 2)
    assert drawn.shape[3:] == (3, 32, 32)
    assert drawn.min() >= 0
    assert drawn.max() <= 1


def test_early_fusion_convolves_picture_and_sound_side_by_side():
    torch.manual_seed(0)
    net = Fused(8).eval()
    clips, sounds = torch.randn(2, 8, 3, 32, 32), 0.1 * torch.randn(6, 5120)
    found = net.fused(clips, sounds)
    seen = net.video.net.layer1(net.video.net.stem(net.video.channels_first(clips))).repeat_interleave(3, 0)
    heard = F.adaptive_avg_pool1d(net.audio.maps(sounds), 8)[..., None, None].expand(-1, -1, -1, *seen.shape[3:])
    rest = torch.nn.Sequential(
        net.join, net.norm, torch.nn.ReLU(), net.video.net.layer2, net.video.net.layer3, net.video.net.layer4
    )
    torch.testing.assert_close(found, rest(torch.cat([seen, heard], 1)), rtol=1e-4, atol=1e-5)
    silent = rest(torch.cat([seen[::3], torch.zeros_like(heard[::3])], 1))
    torch.testing.assert_close(net.maps(clips), silent, rtol=1e-4, atol=1e-5)


def test_syncnet_averages_along_diagonals_and_reads_the_target_off_the_times(monkeypatch):
    method = SyncNet(
        EarlyFusion(8), VGG(8), AlignedClips(num_frames=10, step=0.04), hidden=16, out=6, reach=0.08
    ).eval()
    clips = clips_of(n=1, frames=10)
    vectors = F.normalize(torch.randn(3, 6, 6), dim=2)  # windows of 3 clips, of 5 frames each
    monkeypatch.setattr(method.streams, "embed_windows", lambda video: vectors)
    monkeypatch.setattr(method.streams, "embed_audio", lambda sounds: vectors.flatten(0, 1))
    out = method(clips)
    scores = [
        [
            sum(vectors[b, i] @ vectors[b, i + o] for i in range(6) if 0 <= i + o < 6) / (6 - abs(o))
            for o in range(-2, 3)
        ]
        for b in range(3)
    ]
    expected = F.cross_entropy(torch.tensor(scores) / method.temperature, torch.tensor([2, 2, 2]))
    assert out["loss"].item() == pytest.approx(expected.item(), rel=1e-4)
    assert out["accuracy"].tolist() == [1, 1, 1]
    assert out["chance/accuracy"].tolist() == pytest.approx([1 / 5] * 3)
    assert out["chance/within_a_frame"].tolist() == pytest.approx([3 / 5] * 3)
    early = replace(clips, audio_times=clips.audio_times + 0.08)  # sound taken from later: in sync with earlier windows
    assert method.offset_errors(early).argmin(2).flatten().tolist() == [0, 0, 0]
    again = method(early)
    assert again["accuracy"].tolist() == again["within_a_frame"].tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="lower reach"):
        SyncNet(EarlyFusion(8), VGG(8), AlignedClips(num_frames=10, step=0.04), reach=0.3)


def test_cosines_are_float32_under_autocast(monkeypatch):
    """In bfloat16, cosines that differ by less than 1/256 would be ties."""
    one = F.normalize(torch.tensor([[1.0, 0.0], [1.0, 0.01], [1.0, 0.02]]), dim=1)
    method = SyncNet(EarlyFusion(8), VGG(8), AlignedClips(num_frames=7, step=0.04), hidden=16, out=2, reach=0.04).eval()
    monkeypatch.setattr(method.streams, "embed_windows", lambda video: one[None])
    monkeypatch.setattr(method.streams, "embed_audio", lambda sounds: one)
    clips = clips_of(n=1, b=1, frames=7)
    plain = method(clips)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = method(clips)
        assert nearest_centre(one, one).tolist() == [0, 1, 2]
        avid = AVID(MC3(8), VGG(8), AlignedClips(num_frames=5, step=0.04))
        avid.video_head, avid.audio_head = Given(one), Given(one)
        assert avid(clips_of(n=1))["audio_to_video"].tolist() == [1, 1, 1]
    assert {name: value.tolist() for name, value in cast.items()} == {k: v.tolist() for k, v in plain.items()}


class Given(torch.nn.Module):
    """The same vectors, whatever comes."""

    def __init__(self, vectors):
        super().__init__()
        self.vectors = vectors

    def forward(self, features):
        return self.vectors


def test_embeddings_that_know_nothing_do_not_favour_offset_zero():
    similarity = torch.randn(4000, 21, 21, generator=torch.Generator().manual_seed(0))
    answers = diagonal_means(similarity, 10).argmax(1)
    assert (answers == 10).float().mean() < 1 / 21 + 0.01


def test_the_ranking_compares_with_all_clips_what_the_offsets_of_one_clip_do_not_teach():
    rng = torch.Generator().manual_seed(0)
    scores, target = torch.randn(6, 5, generator=rng), torch.tensor([2, 1, 2, 3, 2, 0])
    far = (torch.arange(5) - target[:, None]).abs() >= 2
    pairs = [(scores[i, target[i]], wrong) for i in range(6) for wrong in scores[far]]
    expected = sum(torch.log1p((wrong - right).exp()) for right, wrong in pairs) / len(pairs)
    assert ranking(scores, target, far).item() == pytest.approx(expected.item(), rel=1e-5)
    moved = scores + 5 * torch.arange(6.0)[:, None]  # each clip on a scale of its own
    assert F.cross_entropy(moved, target).item() == pytest.approx(F.cross_entropy(scores, target).item(), rel=1e-5)
    assert ranking(moved, target, far) > ranking(scores, target, far) + 1


@pytest.mark.parametrize(
    "make",
    [lambda: AVTS(MC3(8), VGG(8), HardClips(5, 0.04, 0.2), 16, 8), lambda: OwensEfros(Fused(8), ShiftedSound(5, 0.04))],
)
def test_a_synchroniser_is_exported_with_its_heads(make, tmp_path):
    torch.manual_seed(0)
    network = make().exports()["sync"].eval()
    save_encoder(network, tmp_path / "sync", CARD)
    again = load(tmp_path, Synchroniser, "sync")
    assert (again.num_frames, again.step, again.samples) == (5, 0.04, 3200)
    clips, sounds, which = torch.rand(2, 5, 3, 32, 32), torch.rand(3, 3200), torch.tensor([[0, 1], [2, 2]])
    sounds[1] = 0
    with torch.no_grad():
        distances = again.distances(clips, sounds, which)
        assert torch.equal(distances, network.distances(clips, sounds, which))
        torch.testing.assert_close(distances[1, 0], distances[1, 1])  # the same pair twice
        assert not torch.isclose(distances[0, 0], distances[0, 1])


def test_kmeans_finds_the_clusters_and_leaves_none_empty():
    torch.manual_seed(0)
    middles = F.normalize(torch.randn(4, 16), dim=1)
    own = torch.arange(200) % 4
    vectors = F.normalize(middles[own] + 0.05 * torch.randn(200, 16), dim=1)
    centres = kmeans(vectors, F.normalize(vectors[:4] + 0.1 * torch.randn(4, 16), dim=1))
    labels = (vectors @ centres.T).argmax(1)
    assert len(labels.unique()) == 4
    assert all(len(labels[own == cluster].unique()) == 1 for cluster in range(4))
    crowded = kmeans(vectors, middles[:1].repeat(4, 1))  # all centres at one place
    assert len((vectors @ crowded.T).argmax(1).unique()) == 4


def test_xdc_clusters_now_and_then_and_keeps_it_for_a_resume():
    torch.manual_seed(0)
    method = XDC(MC3(8), VGG(8), AlignedClips(1, 5, 0.04), clusters=3, memory=8, every=2)
    clips = clips_of(n=1, b=4)
    before = method.seen_centres.clone()
    for step in range(2):
        method(clips)
        method.after_step((step + 1) / 2)
        assert torch.equal(method.seen_centres, before) == (step == 0)
    assert method.written == 8
    assert {"seen_memory", "heard_memory", "seen_centres", "heard_centres", "written", "steps"} <= set(
        method.state_dict()
    )
