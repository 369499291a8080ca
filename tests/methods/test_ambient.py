import pytest
import torch

from avssl.clips import Clips
from avssl.encoders import ResNet
from avssl.methods import AmbientSound
from avssl.methods.audiovisual.streams import AlignedClips


def made(**options):
    torch.manual_seed(0)
    sampler = AlignedClips(num_frames=1, step=0.04, sound=0.5)
    return AmbientSound(ResNet(18, 8), sampler, **{"memory": 32, "every": 1, "clusters": 4, **options})


def clips(kinds):
    """Frames with sounds of some kinds: noise in one of four octaves."""
    noise = torch.randn(len(kinds), 8000)
    spectrum = torch.fft.rfft(noise)
    hertz = torch.arange(4001) * 2.0
    inside = torch.stack([(hertz > 300 * 2**k) & (hertz < 600 * 2**k) for k in kinds])
    sound = torch.fft.irfft(spectrum * inside)
    return Clips(torch.randn(len(kinds), 1, 1, 3, 32, 32), torch.zeros(len(kinds), 1, 1), 0.3 * sound[:, None])


def test_clusters_are_the_kinds_of_sound():
    method = made()
    kinds = [0, 1, 2, 3] * 4
    for _ in range(4):
        method(clips(kinds))
        method.after_step(0.1)
    found = method.targets(method.statistics(clips(kinds)))
    pairs = set(zip(kinds, found.tolist(), strict=True))
    assert len(pairs) == len({kind for kind, _ in pairs}) == len({label for _, label in pairs}) == 4


def test_targets_stand_still_after_the_first_part_of_the_run():
    method = made()
    method(clips([0, 1] * 8))
    method.after_step(0.5)  # the first clustering is never left out
    before = method.centres.clone()
    assert method.mean.any()
    method(clips([2, 3] * 8))
    method.after_step(0.6)
    assert torch.equal(method.centres, before)
    method(clips([2, 3] * 8))
    method.after_step(0.3)
    assert not torch.equal(method.centres, before)


def test_bits_are_signs_of_components_and_keep_their_meaning():
    method = made(target="bits", clusters=2)
    kinds = [0, 1, 2, 3] * 4
    method(clips(kinds))
    method.after_step(0.1)
    before, axes = method.targets(method.statistics(clips(kinds))), method.centres.clone()
    assert before.shape == (16, 2)
    assert torch.allclose(axes @ axes.T, torch.eye(2), atol=1e-4)
    method(clips(kinds))
    method.after_step(0.2)
    again = method.targets(method.statistics(clips(kinds)))
    assert (again == before).float().mean() > 0.8
    out = method(clips(kinds))
    assert 0.5 <= out["chance/bits"].mean() < 1


def test_sound_of_another_rate_is_refused():
    shown = clips([0, 1])
    shown.audio = shown.audio[..., ::2]
    with pytest.raises(ValueError, match="8000 samples per second"):
        made()(shown)
