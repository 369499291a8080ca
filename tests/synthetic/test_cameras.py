"""The camera pipeline: what each setting does, against independent computations; and the files of filmed videos."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from avssl.labels import RecordedAttributes
from avssl.media import open_video, probe
from avssl.synthetic import CameraPipeline, Scene, World, film_videos
from avssl.synthetic.camera_jpeg import Jpeg
from avssl.synthetic.camera_mosaic import demosaic, kernels, mosaic
from avssl.synthetic.camera_pipeline import ATTRIBUTES, GAMMA, NEUTRAL, SHOT, settings_of
from avssl.synthetic.camera_video import CRFS, recoded


def neutral(count=1, **changed):
    """Settings ``[count, A]`` that change nothing but what is named."""
    row = dict(zip(ATTRIBUTES, NEUTRAL, strict=True)) | changed
    return torch.tensor([list(row.values())]).expand(count, -1)


def frames(count=3, size=90):
    world = World(videos=16, size=96)
    shown = np.stack([Scene(world, index).frame(1.0) for index in range(count)])
    return torch.from_numpy(shown).permute(0, 3, 1, 2)[..., :size]  # not a multiple of a block


@pytest.mark.parametrize("quality", [92, 70, 30])
def test_jpeg_is_that_of_a_codec(quality):
    pictures = frames()
    ours = 255 * Jpeg()(pictures / 255, torch.full((len(pictures),), float(quality)))
    for mine, picture in zip(ours, pictures, strict=True):
        file = io.BytesIO()
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(file, "JPEG", quality=quality, subsampling=2)
        theirs = torch.from_numpy(np.asarray(Image.open(file)).copy()).permute(2, 0, 1)
        changed = (theirs.float() - picture).abs().mean()
        assert (mine - theirs).abs().mean() < 0.45 * changed
        assert (mine - theirs).abs().mean() < 1  # level of 255: steps are rounded either way where it is close


def test_a_mosaic_keeps_one_colour_and_ramps_are_interpolated_exactly():
    down, across = torch.meshgrid(torch.linspace(0, 1, 20), torch.linspace(0, 1, 24), indexing="ij")
    ramp = torch.stack([down, across, 0.5 * (down + across)])[None]
    seen = mosaic(ramp)
    assert torch.equal(seen[0, 0, ::2, ::2], ramp[0, 0, ::2, ::2])
    assert torch.equal(seen[0, 0, 1::2, 1::2], ramp[0, 2, 1::2, 1::2])
    assert torch.equal(seen[0, 0, ::2, 1::2], ramp[0, 1, ::2, 1::2])
    plain, corrected = demosaic(seen, kernels())
    inside = (..., slice(2, -2), slice(2, -2))
    assert torch.allclose(plain[inside], ramp[inside], atol=1e-5)
    assert torch.allclose(corrected[inside], ramp[inside], atol=1e-5)


def test_gradients_correct_the_interpolation_of_edges():
    grey = (frames(3).float() / 255).mean(1, keepdim=True).expand(-1, 3, -1, -1)  # the gradient is that of all colours
    plain, corrected = demosaic(mosaic(grey), kernels())
    assert (corrected - grey).square().mean() < 0.6 * (plain - grey).square().mean()


def test_neutral_settings_and_no_strength_change_nothing():
    rgb = frames() / 255
    assert torch.equal(CameraPipeline()(rgb, neutral(3)), rgb)
    still = CameraPipeline(strength=0)
    assert torch.equal(still(rgb, still.draw(3)), rgb)


def test_noise_white_balance_and_scale_are_what_the_settings_say():
    camera, light = CameraPipeline(), 0.2
    flat = torch.full((1, 3, 200, 200), light ** (1 / GAMMA))
    linear = camera(flat, neutral(noise=0.02), torch.Generator().manual_seed(0)) ** GAMMA
    assert linear.std().item() == pytest.approx((0.02**2 + SHOT * 0.02 * light) ** 0.5, rel=0.03)
    warm = camera(flat, neutral(white=0.5)) ** GAMMA
    assert (warm[:, 0].mean() / warm[:, 2].mean()).log2().item() == pytest.approx(0.5, abs=0.03)
    spot = torch.zeros(1, 3, 81, 81)
    spot[..., 30:33, 50:53] = 1  # its middle is 9 above and 11 right of the picture's
    large = camera(spot, neutral(scale=1.5))[0, 0]
    weights = large / large.sum()
    place = torch.arange(81.0) - 40
    assert (weights.sum(1) @ place).item() == pytest.approx(-9 * 1.5, abs=0.2)
    assert (weights.sum(0) @ place).item() == pytest.approx(11 * 1.5, abs=0.2)


def test_sharpening_and_blur_change_the_detail_in_the_right_way():
    rgb, camera = frames() / 255, CameraPipeline()
    energies = [camera(rgb, neutral(3, sharpness=amount)).diff(dim=3).square().mean() for amount in (-0.8, 0.0, 1.0)]
    assert energies[0] < 0.8 * energies[1] < 0.8 * energies[2]


def test_settings_come_from_the_generator_and_all_levels_equally_often():
    camera = CameraPipeline()
    drawn = camera.draw(4000, torch.Generator().manual_seed(1))
    assert torch.equal(drawn, camera.draw(4000, torch.Generator().manual_seed(1)))
    for place in range(len(ATTRIBUTES)):
        values, counts = drawn[:, place].unique(return_counts=True)
        assert len(values) == 3
        assert counts.min() > 0.85 * 4000 / 3
    correlation = torch.corrcoef(drawn.T) - torch.eye(len(ATTRIBUTES))
    assert correlation.abs().max() < 0.06  # no attribute tells another


def test_wrong_levels_are_refused():
    with pytest.raises(ValueError, match=r"CameraPipeline.jpeg.*at least two different levels"):
        CameraPipeline(jpeg=[80, 80])
    with pytest.raises(ValueError, match=r"scale"):
        CameraPipeline(scale=[0.5, 1])


def test_a_coarser_factor_loses_more():
    clip = frames(4)
    losses = [(recoded(clip, crf).float() - clip).abs().mean() for crf in (10, 25, 40)]
    assert losses[0] < losses[1] < losses[2]


def test_filmed_videos_are_read_again_with_their_settings(world, tmp_path):
    videos = sorted(world.glob("*/*.mp4"))[:3]
    files = film_videos(videos, tmp_path / "one", size=48, seconds=0.4)
    again = film_videos(videos, tmp_path / "two", size=48, seconds=0.4)
    assert [path.read_bytes() for path in files] == [path.read_bytes() for path in again]
    read = RecordedAttributes([*ATTRIBUTES, "h264", "Model"])
    rows = []
    for path in files:
        info = probe(path)
        assert (info.size, info.codec, info.num_frames) == ((48, 48), "h264", 10)
        with open_video(path, info=info) as reader:
            shown = reader.frames(torch.tensor([0.2]))
        told = json.loads(path.with_suffix(".camera.json").read_text())
        assert told["h264"] in CRFS
        assert set(told) == {*ATTRIBUTES, "h264"}
        rows.append((told, read(shown[None], torch.tensor([[0.2]]), info)[0]))
    for place, name in enumerate([*ATTRIBUTES, "h264"]):
        for first, one in rows:
            for second, other in rows:
                assert (first[name] == second[name]) == bool(one[place] == other[place])
    assert all(one[-1] == -1 for _, one in rows)  # no model was recorded


def test_settings_are_named_in_their_order():
    assert settings_of(neutral()[0]) == dict(zip(ATTRIBUTES, NEUTRAL, strict=True))
