import colorsys
import math

import cv2
import numpy as np
import pytest
import torch
from made import of
from torch.nn import functional as F

from avssl.data.samplers import RandomClips
from avssl.encoders import GreyResNet, ResNet, SplitResNet, load_encoder, save_encoder
from avssl.methods import (
    AET,
    CoachedContextEncoder,
    Colourisation,
    ContextEncoder,
    Counting,
    MultiTask,
    Ranking,
    SplitBrain,
    SplitBrainDepth,
)
from avssl.methods.dense import most_frequent
from avssl.methods.frame.coach import threshold
from avssl.methods.frame.colourisation import decode_histograms, hypercolumns, rarity_weights
from avssl.methods.frame.context_encoder import ChannelWiseLinear, GradientReversal, masked_error, random_regions
from avssl.methods.frame.split_brain import nearest_bin
from avssl.pixels import (
    MEAN,
    STD,
    ab_bins,
    denormalise,
    hue_chroma_to_rgb,
    lab_to_rgb,
    normalise_rgb,
    rgb_to_hue_chroma,
    rgb_to_lab,
)


def test_ab_bins_are_those_that_opencv_finds_among_random_colours():
    bins = {tuple(row) for row in ab_bins().int().tolist()}
    assert len(bins) == 262
    rng = np.random.default_rng(0)
    rgb = rng.random((1, 400_000, 3), dtype=np.float32)
    rgb[:, ::2] = rgb[:, ::2].round() * 0.7 + rgb[:, ::2] * 0.3  # more of them near the faces
    ab = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB)[0, :, 1:]
    centres, count = np.unique((ab / 10).round().astype(int) * 10, axis=0, return_counts=True)
    touched = {tuple(row) for row in centres[count > 3].tolist()}
    assert touched <= bins
    assert len(bins - touched) < 12  # cells that the gamut only grazes
    assert (0, 0) in bins and (-100, 100) not in bins  # noqa: PT018


def test_hue_and_chroma_are_those_of_hsv_and_come_back():
    torch.manual_seed(0)
    rgb = torch.rand(3, 4, 5)
    hue, chroma, light = rgb_to_hue_chroma(rgb)
    for row in range(4):
        for column in range(5):
            h, s, v = colorsys.rgb_to_hsv(*rgb[:, row, column].tolist())
            assert hue[row, column].item() == pytest.approx(h, abs=1e-5)
            assert chroma[row, column].item() == pytest.approx(s * v, abs=1e-5)
    assert torch.allclose(light, rgb.mean(0))
    assert torch.allclose(hue_chroma_to_rgb(hue, chroma, light), rgb, atol=1e-5)
    grey = torch.full((3, 1, 1), 0.4)
    assert rgb_to_hue_chroma(grey)[1].item() == 0


def test_colours_are_exact_under_autocast():
    rgb = torch.rand(2, 3, 8, 8)
    exact = rgb_to_lab(rgb)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(rgb_to_lab(rgb), exact)
        assert torch.allclose(lab_to_rgb(exact), rgb, atol=1e-4)
    assert torch.allclose(normalise_rgb(denormalise(rgb)), rgb, atol=1e-5)
    assert torch.allclose(denormalise(torch.zeros(3, 1, 1)).flatten(), torch.tensor(MEAN))
    assert torch.allclose(denormalise(torch.ones(3, 1, 1)).flatten(), torch.tensor(MEAN) + torch.tensor(STD))


def test_the_likeliest_class_is_counted_in_other_videos_under_the_same_condition():
    classes = torch.tensor([[0, 0, 2, 2], [0, 1, 2, 2], [1, 1, 1, 5]])
    given = torch.tensor([[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1, 3]])
    assert most_frequent(classes, 6, given, 4).tolist() == [[1, 1, 2, 2], [1, 1, 2, 2], [0, 0, 2, 2]]
    assert most_frequent(classes, 6).tolist() == [[1] * 4, [1] * 4, [2] * 4]
    unknown = torch.where(classes == 1, -1, classes)
    assert (most_frequent(unknown, 6) != 1).all()
    assert most_frequent(torch.full_like(classes, -1), 6).tolist() == [[0] * 4] * 3


def test_a_hypercolumn_is_all_maps_enlarged():
    torch.manual_seed(0)
    maps = [torch.randn(2, 3, 8, 6), torch.randn(2, 5, 4, 3), torch.randn(2, 2, 1, 1)]
    places = torch.arange(48).expand(2, -1)
    whole = torch.cat([F.interpolate(part, size=(8, 6), mode="bilinear") for part in maps], 1)
    assert torch.allclose(hypercolumns(maps, places).mT.unflatten(2, (8, 6)), whole, atol=1e-5)
    assert torch.allclose(hypercolumns(maps, places[:, 5:7]), whole.flatten(2).mT[:, 5:7], atol=1e-5)


@pytest.mark.parametrize("rebalance", [False, True])
def test_colourisation_loss_is_equation_5_of_the_paper(rebalance):
    torch.manual_seed(0)
    method = Colourisation(GreyResNet(18, 8), width=8, places=10**6, rebalance=rebalance)
    logits = torch.randn(2, 2, 64, 32)  # hue and chroma of two frames of 8 x 8 cells
    method._scores = lambda maps, places: [part.gather(1, places[..., None].expand(-1, -1, 32)) for part in logits]
    rgb = (255 * torch.rand(2, 3, 32, 32)).round() / 255
    hue, chroma, _ = (part.flatten(1) for part in rgb_to_hue_chroma(F.avg_pool2d(rgb, 4)))
    binned = [[int(value * 32) for value in part.flatten().tolist()] for part in (hue, chroma)]
    weights = [[1.0] * 32, [1.0] * 32]
    if rebalance:
        for kind, classes in enumerate(binned):
            raw = [1 / (0.5 * classes.count(k) / 128 + 0.5 / 32) for k in range(32)]
            total = sum(raw[k] for k in classes) / 128
            weights[kind] = [value / total for value in raw]
    expected = 0.0
    for place in range(128):
        frame, cell = divmod(place, 64)
        for kind, factor in ((0, 5 * chroma[frame, cell].item()), (1, 1.0)):
            right = binned[kind][place]
            chance = logits[kind, frame, cell].softmax(0)[right].item()
            expected -= factor * weights[kind][right] * math.log(chance) / 128
    assert method(of(rgb))["loss"].item() == pytest.approx(expected, rel=1e-4)


def test_rebalanced_weights_have_a_mean_of_one():
    torch.manual_seed(0)
    classes = torch.randint(6, (50, 4)).clamp(max=3)
    weight = rarity_weights(classes, 8)
    assert weight[classes].mean().item() == pytest.approx(1, abs=1e-5)
    assert weight[3] < weight[0] < weight[7]


def test_colours_are_the_mean_of_the_hue_and_the_median_of_the_chroma_and_fade():
    hue, chroma = torch.zeros(2, 32), torch.zeros(2, 32)
    hue[0, [31, 0]] = 0.5  # half on either side of red
    hue[1] = 1 / 32
    chroma[:, 0], chroma[:, 8] = 0.4, 0.6
    h, c = decode_histograms(hue, chroma)
    assert min(h[0].item(), 1 - h[0].item()) < 1e-5
    assert c[0].item() == pytest.approx((8 + 0.1 / 0.6) / 32, abs=1e-5)
    assert c[1].item() < 1e-5


def test_a_colouring_network_does_not_see_what_it_must_tell():
    torch.manual_seed(0)
    light, tint = torch.randint(80, 170, (2, 1, 32, 32)), torch.randint(-40, 40, (2, 1, 32, 32))
    rgb, grey = torch.cat([light + tint, light, light - tint], 1) / 255, light.expand(-1, 3, -1, -1) / 255
    method = Colourisation(ResNet(18, 8), width=8).eval()
    assert all(torch.allclose(a, b, atol=1e-3) for a, b in zip(*(method._grey_maps(of(x))[0] for x in (rgb, grey))))
    encoder = GreyResNet(18, 8).eval()
    assert torch.allclose(*(encoder(of(x).video.flatten(0, 1)) for x in (rgb, grey)), atol=1e-4)

    lab = torch.cat([40 + 20 * torch.rand(2, 1, 32, 32), 20 * torch.rand(2, 2, 32, 32) - 10], 1)
    halves = SplitResNet(18, 8).eval()

    def seen(lab):
        return halves.halves(normalise_rgb(lab_to_rgb(lab))[:, None])

    other_colour, other_light = lab.clone(), lab.clone()
    other_colour[:, 1:] *= -1
    other_light[:, 0] += 5
    light, colour = seen(lab)
    assert torch.allclose(seen(other_colour)[0][-1], light[-1], atol=1e-2)
    assert not torch.allclose(seen(other_colour)[1][-1], colour[-1], atol=1e-2)
    assert torch.allclose(seen(other_light)[1][-1], colour[-1], atol=1e-2)
    assert not torch.allclose(seen(other_light)[0][-1], light[-1], atol=1e-2)


def test_over_rgbd_neither_half_sees_what_it_must_tell_and_unknown_depth_does_not_count():
    torch.manual_seed(0)
    method = SplitBrainDepth(ResNet(18, 8), width=8, near=1.0, far=4.0, levels=4).eval()
    clips, other = of(torch.rand(4, 3, 32, 32)), of(torch.rand(4, 3, 32, 32))
    clips.target = other.target = 1 + 3 * torch.rand(4, 1, 1, 32, 32)
    shallow = of(torch.rand(4, 3, 32, 32))
    shallow.video, shallow.target = clips.video, clips.target / 2
    found, elsewhere, nearer = (method.cross_predictions(each) for each in (clips, other, shallow))
    assert torch.equal(found["depth"].scores, nearer["depth"].scores)
    assert not torch.allclose(found["depth"].scores, elsewhere["depth"].scores)
    for name in ("colour", "light"):
        assert torch.equal(found[name].scores, elsewhere[name].scores)
        assert not torch.allclose(found[name].scores, nearer[name].scores)

    for metres, level in ((0.5, 0), (1.3, 0), (1.5, 1), (2.5, 2), (3.9, 3), (9.0, 3)):
        clips.target = torch.full((4, 1, 1, 32, 32), metres)
        found = method.cross_predictions(clips)["depth"].target  # equal bins of the logarithm: 1, 1.41, 2, 2.83
        assert (found == level).all()
    clips.target[:, ..., :16] = 0
    assert method.cross_predictions(clips)["depth"].counted.flatten(0, 1).float().mean(0).tolist() == [0] * 4 + [1] * 4
    before = method(clips)
    clips.pixels[..., :16] //= 2  # where no depth is known, it does not matter how light it is
    assert torch.equal(before["chance/light"], method(clips)["chance/light"])
    clips.target[:] = 0
    assert method(clips)["loss"] == 0


def test_the_split_encoder_is_exported_with_both_halves(tmp_path):
    encoder = SplitResNet(18, 8).eval()
    save_encoder(encoder, tmp_path, {"mean": list(MEAN), "std": list(STD), "size": [32, 32]})
    loaded = load_encoder(tmp_path)
    clips = torch.randn(2, 3, 3, 32, 32)
    vectors = loaded(clips)
    assert vectors.shape == (2, encoder.num_features) == (2, 128)
    assert torch.equal(vectors, encoder(clips))
    assert torch.allclose(loaded.maps(clips).mean((2, 3, 4)), vectors, atol=1e-5)
    light, colour = loaded.halves(clips)
    assert torch.equal(loaded.stages(clips)[2], torch.cat([light[2], colour[2]], 1))
    assert [part.shape[1] for part in loaded.stages(clips)] == list(loaded.stage_channels)


def test_a_colour_is_put_into_the_nearest_bin():
    method = SplitBrain(SplitResNet(18, 8), width=8)
    torch.manual_seed(0)
    ab = rgb_to_lab(torch.rand(2, 3, 4, 4))[:, 1:]
    found = method.bins[nearest_bin(ab, method.bins)].permute(0, 3, 1, 2)
    assert torch.equal(found, (ab / 10).round() * 10)  # every colour of the screen is in a bin of its own


def test_shortcut_colour_fringes_are_not_seen_in_grey():
    def differences(grey):
        method = Counting(ResNet(18, 8), counts=4, hidden=8, grey=grey).eval()
        seen = []
        maps = method.encoder.maps
        method.encoder.maps = lambda clips: seen.append(clips) or maps(clips)
        picture = torch.rand(2, 1, 32, 32).repeat(1, 3, 1, 1)
        picture[:, 0] = picture[:, 0].roll(1, -1)  # red is shifted against green
        method.count_whole_and_tiles(picture)
        return (seen[0][..., 0, :, :] - seen[0][..., 1, :, :]).abs().max().item()

    torch.manual_seed(0)
    assert differences(1.0) == 0
    assert differences(0.0) > 0.1


def test_regions_cover_exactly_the_share_and_are_larger_than_pixels():
    torch.manual_seed(0)
    hidden = random_regions(torch.zeros(10, 3, 64, 64), 0.25)
    assert hidden.flatten(1).sum(1).tolist() == [1024] * 10
    borders = (hidden[..., 1:] != hidden[..., :-1]).float().mean()
    assert borders < 0.08  # independent pixels would give 0.375
    assert not torch.equal(hidden[0], hidden[1])


def test_hidden_pixels_are_not_seen_and_only_they_count():
    torch.manual_seed(0)
    method = ContextEncoder(ResNet(18, 8), width=8, grid=1).eval()
    pictures = torch.randn(2, 3, 32, 32)
    hidden = method.mask(pictures)
    other = torch.where(hidden, torch.randn_like(pictures), pictures)
    painted = method.paint(pictures, hidden)
    assert torch.equal(method.paint(other, hidden), painted)
    by_hand = [
        sum(((painted[m, c] - pictures[m, c])[hidden[m, 0]] ** 2).sum().item() for c in range(3)) / 3 / hidden[m].sum()
        for m in range(2)
    ]
    assert masked_error(painted, pictures, hidden).tolist() == pytest.approx(
        [float(value) for value in by_hand], rel=1e-4
    )
    assert torch.equal(method._identified(pictures, pictures, hidden), torch.ones(2))


def test_the_bottleneck_mixes_places_and_no_channels():
    torch.manual_seed(0)
    layer = ChannelWiseLinear(4, 3)
    assert layer.weight.numel() == 4 * 3**4  # m n^4, where a full layer has m^2 n^4
    maps = torch.randn(2, 4, 3, 3)
    other = maps.clone()
    other[:, 1, 0, 0] += 5
    changed = (layer(other) - layer(maps)).abs().amax((0, 2, 3)) > 0
    assert changed.tolist() == [False, True, False, False]
    spread = (torch.einsum("ci,cio->co", other[0].flatten(1) - maps[0].flatten(1), layer.weight) != 0)[1]
    assert spread.all()


def test_painter_and_discriminator_step_on_the_two_sides_of_the_minimax_problem():
    torch.manual_seed(0)
    painted, weight = torch.randn(5, requires_grad=True), torch.randn((), requires_grad=True)
    F.softplus(weight * GradientReversal.apply(painted, 0.01)).mean().backward()
    reversed_gradient, own = painted.grad.clone(), weight.grad.clone()
    painted.grad = weight.grad = None
    F.softplus(weight * painted).mean().backward()
    assert torch.allclose(reversed_gradient, -0.01 * painted.grad)
    assert torch.equal(own, weight.grad)


def test_the_discriminator_sees_real_and_painted_pictures_in_batches_of_their_own():
    torch.manual_seed(0)
    method, seen = ContextEncoder(ResNet(18, 8), width=8, grid=1, adversarial=0.5), []
    method.discriminator.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    clips = of(torch.rand(3, 3, 64, 64))
    method(clips)
    assert torch.equal(seen[0], clips.video.flatten(0, 2))
    assert seen[1].shape == seen[0].shape


def test_the_coach_hides_a_quarter_of_the_blocks_and_seeks_what_is_painted_badly():
    torch.manual_seed(0)
    method = CoachedContextEncoder(ResNet(18, 8), width=8, grid=1, warm=0.0)
    hidden = method.mask(torch.randn(3, 3, 64, 64))
    blocks = hidden.float().unfold(2, 16, 16).unfold(3, 16, 16).mean((-1, -2))
    assert blocks.flatten(1).sum(1).tolist() == [4.0] * 3
    assert set(blocks.flatten().tolist()) == {0.0, 1.0}
    scores = torch.zeros(1, 1, 2, 2, requires_grad=True)
    soft = 1 - (scores - threshold(scores, 0.25)).sigmoid()
    painted = torch.tensor([[0.0, 0.0], [0.0, 3.0]]).expand(1, 3, 2, 2)
    (1 - masked_error(painted, torch.zeros(1, 3, 2, 2), soft)).backward()
    assert (scores.grad[0, 0] > 0).tolist() == [[False, False], [False, True]]  # the score falls where the error is


def test_before_it_is_warm_the_coach_hides_at_random_and_its_lesson_is_no_part_of_the_loss_shown():
    torch.manual_seed(0)
    method = CoachedContextEncoder(ResNet(18, 8), RandomClips(num_frames=1), width=8, grid=1, warm=0.5)
    method.judge.weight.data.zero_()
    method.judge.bias.data.zero_()  # the coach finds all blocks alike, and would hide every one
    pictures = torch.randn(2, 3, 64, 64)
    assert method.mask(pictures).float().mean() == 0.25
    method.after_step(0.6)
    assert method.mask(pictures).float().mean() == 1
    method.after_step(0.1)
    out = method(of(torch.rand(2, 3, 64, 64)))
    out["loss"].backward()
    assert method.judge.bias.grad is not None
    assert "progress" in method.state_dict()


def test_tasks_share_one_encoder_and_their_losses_add_up():
    torch.manual_seed(0)
    sampler = RandomClips(num_frames=1, step=0.04)
    tasks = {
        "warp": lambda encoder: AET(encoder, sampler, hidden=8),
        "crops": lambda encoder: Ranking(encoder, sampler, levels=2),
    }
    method = MultiTask(ResNet(18, 8), tasks, {"crops": 0.5}).eval()
    assert all(task.encoder is method.encoder for task in method.tasks.values())
    clips = of(torch.rand(2, 3, 32, 32))
    torch.manual_seed(1)
    out = method(clips)
    torch.manual_seed(1)
    single = {name: task(clips) for name, task in method.tasks.items()}
    assert torch.equal(out["loss"], single["warp"]["loss"] + 0.5 * single["crops"]["loss"])
    assert torch.equal(out["crops_ordered"], single["crops"]["ordered"])
    assert set(out) == {"loss", "warp_identified", "crops_ordered", "chance/warp_identified", "chance/crops_ordered"}
    with pytest.raises(ValueError, match="samplers must be equal"):
        MultiTask(ResNet(18, 8), tasks | {"more": lambda encoder: Ranking(encoder, RandomClips(num_frames=2))})
    with pytest.raises(ValueError, match="no tasks"):
        MultiTask(ResNet(18, 8), tasks, {"warps": 1.0})
