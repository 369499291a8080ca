"""AV-HuBERT: what is masked, by what, what is dropped, whose clusters are predicted, and what is exported."""

from dataclasses import replace

import pytest
import torch
from made import clips_of
from torch.nn import functional as F

from avssl.encoders import (
    R3D,
    EarlyFusion,
    FrameWindows,
    HuBERTFrames,
    HuBERTSound,
    ResNet,
    load_audio_encoder,
    load_encoder,
    save_encoder,
    weights_hash,
)
from avssl.methods import AVHuBERT
from avssl.methods.audiovisual.av_hubert import FILLING, REFINED, SOUND, replaced
from avssl.methods.audiovisual.codebook import Codebook
from avssl.methods.audiovisual.spans import covered, draw_starts, substitutes
from avssl.methods.audiovisual.streams import AlignedClips
from avssl.methods.clustering import nmi
from avssl.pixels import MEAN, STD

CARD = {"mean": list(MEAN), "std": list(STD), "size": [32, 32]}
LENGTH = 32
SAMPLER = AlignedClips(num_frames=LENGTH, step=0.04, sound=1.32)
RATE = 16000
DRAWS = 400


def made(sampler=SAMPLER, **options):
    torch.manual_seed(0)
    networks = HuBERTFrames(FrameWindows(4), 16, 2, 5), HuBERTSound(16, 2, 5)
    return AVHuBERT(*networks, sampler, **{"clusters": 4, "layer": 1, "memory": 256, "every": 1, **options})


def batch(videos=3, sound=None):
    """Noise; frame t is shown from 40 t ms on, and the sound begins half a frame earlier."""
    clips = clips_of(videos, 1, LENGTH, 16, 0.02 + 0.04 * torch.arange(LENGTH).double().expand(videos, 1, LENGTH))
    times = torch.tensor([0.0, 1.32]).double().expand(videos, 1, 2)
    sound = 0.1 * torch.randn(videos, 21120) if sound is None else sound
    return replace(clips, audio=sound[:, None], audio_times=times, audio_valid=times)


def octaves(kinds):
    """Sounds ``[B, S]`` of noise in one of four octaves in each 40 ms, by kinds ``[B, T + 1]``."""
    samples, ends = torch.randn(len(kinds), LENGTH + 1, 640), torch.arange(321) * 25.0
    inside = torch.stack([(ends > 300 * 2**kind) & (ends < 600 * 2**kind) for kind in range(4)])
    return 0.3 * torch.fft.irfft(torch.fft.rfft(samples) * inside[kinds]).flatten(1)


def test_a_span_is_replaced_by_another_one_of_the_same_clip():
    torch.manual_seed(0)
    starts = draw_starts(DRAWS, 1, 5, LENGTH, torch.device("cpu"))
    shown, hidden = substitutes(starts, 5, LENGTH), covered(starts, 5, LENGTH)
    place = torch.arange(LENGTH)
    assert torch.equal(shown != place, hidden)
    assert (hidden.sum(1) == 5).all()
    inside = shown[hidden].view(DRAWS, 5)
    assert (inside.diff(dim=1) == 1).all()  # a segment, played forwards
    assert (inside >= 0).all()
    assert (inside < LENGTH).all()
    assert not hidden.gather(1, inside).any()  # nothing of the span itself
    assert inside[:, 0].unique().numel() == LENGTH - 4  # any other one
    assert starts.unique().numel() == LENGTH - 4


def test_where_spans_overlap_each_moment_has_one_substitute():
    starts = torch.tensor([[10, 12]]).expand(DRAWS, -1)
    torch.manual_seed(0)
    shown, hidden = substitutes(starts, 5, LENGTH), covered(starts, 5, LENGTH)
    assert hidden[0].nonzero().flatten().tolist() == list(range(10, 17))
    assert torch.equal(shown[~hidden], torch.arange(LENGTH).expand(DRAWS, -1)[~hidden])
    assert (shown[:, 12:17].diff(dim=1) == 1).all()
    assert (shown[:, 10:12].diff(dim=1) == 1).all()


def test_frames_and_sounds_that_are_masked_are_not_seen():
    """A frame that takes no other's place changes nothing, nor does the sound of a masked moment; others do."""
    method, clips = made().eval(), batch()
    video, columns = clips.video[:, 0], method.audio_encoder.columns(clips.audio[:, 0])
    torch.manual_seed(1)
    hidden = method.hide(3, video.device)
    used = torch.zeros(3, LENGTH, dtype=torch.bool).scatter(1, hidden.shown, True)
    assert (~used).any(1).all()
    assert torch.equal(~used & ~hidden.picture, torch.zeros_like(used))
    before = method.scores(*method.vectors(video, columns, hidden))
    other = torch.where(used[..., None, None, None], video, torch.randn_like(video))
    louder = torch.where(hidden.sound[..., None], torch.randn_like(columns), columns)
    torch.testing.assert_close(method.scores(*method.vectors(other, louder, hidden)), before)
    shifted = method.scores(*method.vectors(video, columns + ~hidden.sound[..., None], hidden))
    assert not torch.allclose(shifted, before)
    assert torch.equal(replaced(video, hidden.shown)[0, 3], video[0, hidden.shown[0, 3]])


def test_pictures_and_sound_are_masked_independently_by_their_shares():
    torch.manual_seed(0)
    hidden = made().hide(DRAWS, torch.device("cpu"))
    picture, sound = hidden.picture.float(), hidden.sound.float()
    assert 0.25 < picture.mean() < 10 / LENGTH  # two spans of five, which may overlap
    assert 0.5 < sound.mean() < 30 / LENGTH
    assert abs((picture * sound).mean() - picture.mean() * sound.mean()) < 0.02


def test_a_clip_loses_one_modality_or_none_and_in_evaluation_none():
    torch.manual_seed(0)
    seen, heard = torch.ones(2, 4 * DRAWS, 3, 2)
    method = made(both=0.4, sound_alone=0.25)
    kept = torch.stack([part.flatten(1).mean(1) for part in method.drop(seen, heard)], 1)
    assert set(map(tuple, kept.tolist())) == {(1, 1), (1, 0), (0, 1)}
    for case, share in (((1, 1), 0.4), ((0, 1), 0.6 * 0.25), ((1, 0), 0.6 * 0.75)):
        assert abs((kept == torch.tensor(case)).all(1).float().mean() - share) < 0.04
    assert all(torch.equal(*pair) for pair in zip(method.eval().drop(seen, heard), (seen, heard), strict=True))


def test_the_first_targets_are_the_clusters_of_the_sound_of_that_moment():
    torch.manual_seed(0)
    kinds = torch.randint(4, (8, LENGTH + 1)).sort(1).values  # stretches of one kind
    clips, method = batch(8, octaves(kinds)), made()
    for step in range(4):
        method(clips)
        method.after_step((step + 1) / 100)
    columns = method.audio_encoder.columns(clips.audio[:, 0])
    assert columns.shape[:2] == (8, LENGTH)
    labels = method.targets(clips.video[:, 0], columns)
    same = kinds[:, :-1] == kinds[:, 1:]  # the sound is half a frame ahead, so that a frame's lies in two of these
    assert nmi(labels[same], kinds[:, :-1][same], 4) > 0.95
    later = replace(clips, audio=clips.audio.roll(-640 * 4, 2))  # the sound of four frames later
    moved = method.targets(later.video[:, 0], method.audio_encoder.columns(later.audio[:, 0]))
    assert torch.equal(moved[:, :-5], labels[:, 4:-1])
    assert torch.equal(method.targets(torch.zeros_like(clips.video[:, 0]), columns), labels)


def test_the_loss_is_that_of_masked_moments_and_a_weight_times_that_of_the_others():
    clips = batch()
    losses = {}
    for weight in (0.0, 0.5):
        method = made(unmasked=weight).eval()
        torch.manual_seed(1)
        losses[weight] = method(clips)["loss"]
    torch.manual_seed(1)
    hidden = method.hide(3, clips.video.device)
    columns = method.audio_encoder.columns(clips.audio[:, 0])
    scores = method.scores(*method.vectors(clips.video[:, 0], columns, hidden))
    lost = F.cross_entropy(scores.mT, method.targets(clips.video[:, 0], columns), reduction="none")
    masked = hidden.picture | hidden.sound
    torch.testing.assert_close(losses[0.0], lost[masked].mean())
    torch.testing.assert_close(losses[0.5], lost[masked].mean() + 0.5 * lost[~masked].mean())


def test_scores_are_cosines_over_the_temperature():
    method = made(temperature=0.25)
    assert method.scores(*torch.randn(2, 5, LENGTH, 16)).abs().max() <= 1 / 0.25 + 1e-4


def test_the_second_targets_are_clusters_of_what_the_copy_makes_of_the_whole_clip_and_keep_their_meaning():
    torch.manual_seed(0)
    kinds = torch.randint(4, (8, LENGTH + 1)).sort(1).values
    clips, method = batch(8, octaves(kinds)), made(refine=0.5)
    video, columns = clips.video[:, 0], method.audio_encoder.columns(clips.audio[:, 0])
    stages = []
    for progress in (0.1, 0.2, 0.6, 0.7):
        method(clips)
        if progress == 0.7:
            sounds = method.targets(video, columns)
            method.fresh.pop()
        method.after_step(progress)
        stages.append(method.stage.value)
    assert stages == [SOUND, SOUND, FILLING, REFINED]
    labels = method.targets(video, columns)
    assert (labels == sounds).float().mean() > 0.5  # a name goes to the features of what had it
    with torch.no_grad():
        for parameter in (*method.encoder.parameters(), *method.audio_encoder.parameters()):
            parameter.add_(torch.randn_like(parameter))
    method(clips)
    method.after_step(0.9)
    assert torch.equal(method.targets(video, columns), labels)  # the copy and its clusters stand still
    assert not torch.equal(method.targets(video, columns.roll(1, 0)), labels)
    features = method.features(video, columns)
    for other in (method.features(video.roll(1, 0), columns), method.features(video, columns.roll(1, 0))):
        assert not torch.allclose(features, other)  # of both modalities


@pytest.mark.parametrize("stage", [SOUND, FILLING, REFINED])
def test_a_run_goes_on_from_its_state_in_any_stage(stage):
    clips, moments = batch(4), (0.1, 0.2, 0.6, 0.7, 0.75, 0.8, 0.9)
    method, again = made(), made()

    def step(network, place):
        torch.manual_seed(place)
        out = network(clips)
        network.after_step(moments[place])
        return out

    place = 0
    while place < 2 or method.stage.value != stage:
        step(method, place)
        place += 1
    again.load_state_dict(method.state_dict())
    for later in range(place, len(moments)):
        first, second = step(method, later), step(again, later)
        assert all(torch.equal(first[name], second[name]) for name in first)
    assert method.stage.value == again.stage.value
    assert all(torch.equal(one, again.state_dict()[name]) for name, one in method.state_dict().items())


def test_clusters_of_sound_stand_still_after_the_first_part_of_the_run():
    method = made(refine=1.0)
    method(batch())
    method.after_step(0.5)  # the first clustering is never left out
    before = method.first.centres.clone()
    method(batch(sound=0.1 * torch.randn(3, 21120)))
    method.after_step(0.6)
    assert torch.equal(method.first.centres, before)
    assert method.first.made.value == 1
    assert method.stage.value == SOUND


def test_clusters_are_the_same_in_processes_that_start_differently():
    centres = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        book = Codebook(6, 3, 40)
        vectors = torch.randn(50, 6, generator=torch.Generator().manual_seed(5))
        book.add(vectors, torch.zeros(50, dtype=torch.long))
        assert torch.equal(book.vectors.roll(-10, 0), vectors[10:])
        book.cluster()
        centres.append(book.centres)
    assert torch.equal(*centres)
    with pytest.raises(ValueError, match="memory is 2"):
        Codebook(6, 3, 2)


def test_the_exported_networks_are_what_it_makes_of_one_modality_alone(tmp_path):
    method, clips = made().eval(), batch()
    video, sound = clips.video[:, 0], clips.audio[:, 0]
    for name, network in method.exports().items():
        save_encoder(network, tmp_path / name, CARD)
    encoder, audio_encoder = load_encoder(tmp_path / "encoder"), load_audio_encoder(tmp_path / "audio_encoder")
    assert weights_hash(encoder) == weights_hash(method.encoder)
    assert method.encoder.fusion is method.audio_encoder.fusion
    seen, heard = method.encoder.vectors(video), method.audio_encoder.project(method.audio_encoder.columns(sound))
    fusion, nothing = method.encoder.fusion, torch.zeros_like(seen)
    assert encoder.maps(video).shape == (3, 16, LENGTH, 1, 1)
    torch.testing.assert_close(encoder.maps(video)[..., 0, 0].mT, fusion(seen, nothing))
    torch.testing.assert_close(audio_encoder.maps(sound).mT, fusion(nothing, heard))
    assert not torch.allclose(fusion(seen, heard), fusion(seen, nothing))
    torch.testing.assert_close(method.scores(seen, None), method.scores(seen, nothing))
    assert audio_encoder(torch.randn(2, audio_encoder.min_samples)).shape == (2, 16)
    with pytest.raises(ValueError, match="needs at least"):
        audio_encoder(torch.randn(2, audio_encoder.min_samples - 1))


@pytest.mark.parametrize("frames", [FrameWindows(4), EarlyFusion(8, 10, 4), ResNet(18, 8)])
def test_there_is_a_vector_for_every_frame(frames):
    encoder, clips = HuBERTFrames(frames, 16, 1, 3).eval(), torch.randn(2, 7, 3, 32, 32)
    vectors = encoder.vectors(clips)
    assert vectors.shape == (2, 7, 16)
    changed = clips.clone()
    changed[:, 5] += 1
    moved = (encoder.vectors(changed) - vectors).abs().amax((0, 2)) > 1e-6
    assert moved[5]
    assert not moved[:3].any()  # windows of at most five frames
    assert encoder(clips[:, :1]).shape == (2, 16)


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"set sampler\.step to 0\.04 and sampler\.sound to 1\.32"):
        made(AlignedClips(num_frames=LENGTH, step=0.04))
    with pytest.raises(ValueError, match="need clips of at least 14 frames, got 12"):
        made(AlignedClips(num_frames=12, step=0.04, sound=0.52))
    with pytest.raises(ValueError, match="layer is 3"):
        made(layer=3)
    with pytest.raises(ValueError, match="coefficients is 27"):
        made(coefficients=27)
    with pytest.raises(ValueError, match="must be equal"):
        AVHuBERT(HuBERTFrames(FrameWindows(4), 16, 2, 5), HuBERTSound(16, 2, 7), SAMPLER)
    with pytest.raises(ValueError, match="fewer maps than frames"):
        HuBERTFrames(R3D(8), 16, 2, 5)
    with pytest.raises(ValueError, match="odd number"):
        HuBERTSound(16, 2, 4)
