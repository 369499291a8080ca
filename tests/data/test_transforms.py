import math

import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as V

from avssl.data import RandAugment
from avssl.data.changes import Blur, ColourJitter, Grey, RandomErasing, Solarise, noise
from avssl.data.crops import MultiScaleCrop, RandomResizedCrop
from avssl.data.randaugment import OPERATIONS
from avssl.data.transforms import Augment, PerClip, Squash
from avssl.pixels import LUMA, MEAN, STD

CHANGES = {
    "jitter": ColourJitter((0.6, 0.6, 0.6, 0.15), 0.8),
    "frame jitter": ColourJitter(0.5, each_frame=True),
    "grey": Grey(0.5),
    "blur": Blur(0.5, (0.1, 2.0), 9),
    "solarise": Solarise(0.5),
    "randaugment": RandAugment(),
    "erase": RandomErasing(48, 0.5),
}


def pictures(*shape):
    """Smooth clips, in which a pixel resembles its neighbours."""
    torch.manual_seed(7)
    coarse = torch.rand(math.prod(shape[:-2]), 1, 5, 5)
    fine = torch.nn.functional.interpolate(coarse, shape[-2:], mode="bicubic", align_corners=True)
    return (255 * fine.clamp(0, 1)).byte().view(shape)


@pytest.mark.parametrize("seed", range(5))
def test_every_frame_of_a_clip_is_treated_alike(seed):
    torch.manual_seed(seed)
    frame = torch.randint(0, 256, (3, 74, 74), dtype=torch.uint8)
    transform = Augment(64, jitter=1.0, grey=0.5, blur=0.5)
    out = transform(frame.expand(6, 3, 74, 74).clone())
    assert out.shape == (6, 3, 64, 64)
    assert out.dtype == torch.uint8
    assert (out == out[:1]).all()


@pytest.mark.parametrize("seed", range(5))
def test_jitter_keeps_grey_grey_and_changes_in_brightness(seed):
    torch.manual_seed(seed)
    clip = torch.linspace(60, 180, 16).byte()[:, None, None, None].expand(16, 3, 8, 8)
    out = ColourJitter(0.5)(clip).float()
    assert (out.amax(1) - out.amin(1)).max() <= 1
    steps = out.mean((1, 2, 3)).diff()
    assert (steps >= 0).all()
    assert steps.sum() > 0


def test_jitter_is_as_strong_as_that_of_torchvision():
    torch.manual_seed(0)
    clip = torch.randint(40, 216, (2, 3, 16, 16), dtype=torch.uint8)
    brightness = torch.tensor(LUMA)[:, None, None]

    def spread(jitter):
        found = torch.stack([jitter(clip).float() for _ in range(300)])  # [300, 2, 3, 16, 16]
        light = (found * brightness).sum(2)
        return torch.stack(
            [light.mean((1, 2, 3)).std(), light.std((1, 2, 3)).std(), found.std(2).mean((1, 2, 3)).std()]
        )

    ours, theirs = spread(ColourJitter(0.5)), spread(v2.ColorJitter(0.4, 0.4, 0.4, 0.1))
    assert ((ours / theirs).log().abs() < 0.4).all(), (ours, theirs)


def test_jitter_changes_as_many_clips_as_it_is_told_to():
    clip = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    changed = sum(not torch.equal(ColourJitter(0.5, 0.3)(clip), clip) for _ in range(300))
    assert 60 < changed < 120
    assert torch.equal(ColourJitter(0.0)(clip), clip)


def test_two_clips_are_treated_differently():
    frame = torch.randint(0, 256, (2, 3, 74, 74), dtype=torch.uint8)
    transform = Augment(64)
    assert not torch.equal(transform(frame), transform(frame))


def test_without_probabilities_only_the_crop_is_drawn():
    frame = torch.full((2, 3, 74, 74), 7, dtype=torch.uint8)
    assert (Augment(64, flip=0.0)(frame) == 7).all()


def test_decode_size_squashes_or_keeps_the_aspect_ratio():
    assert Squash(112).decode_size((240, 320)) == (112, 112)
    assert Augment(112).decode_size((240, 320)) == (128, 128)
    assert Augment(112, square=False).decode_size((240, 320)) == (128, 171)


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_of_a_batch_is_that_of_each_clip(name):
    change, clips = CHANGES[name], pictures(6, 4, 3, 48, 48)
    torch.manual_seed(0)
    alone = torch.stack([change(clip) for clip in clips])
    torch.manual_seed(0)
    drawn = torch.stack([change.draw(4) for _ in clips])
    kept = clips.clone()
    together = change.apply(clips, drawn)
    assert (together.int() - alone.int()).abs().max() <= 1
    assert torch.equal(clips, kept)
    changed = (alone != clips).flatten(1).any(1)
    assert changed.any()
    assert not changed[drawn[:, 0] == 0].any()


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_neither_waits_for_a_device_nor_mixes_two(name):
    """Meta tensors have no values: whatever would have to wait for some can't be done with them."""
    torch.manual_seed(0)
    change, clips = CHANGES[name], torch.empty(60, 2, 3, 48, 48, dtype=torch.uint8, device="meta")
    drawn = torch.stack([change.draw(2) for _ in clips])
    out = change.apply(clips, drawn)
    assert (out.device, out.shape, out.dtype) == (clips.device, clips.shape, torch.uint8)
    if name == "randaugment":
        assert len(set(drawn[:, 1:].unflatten(1, (-1, 3))[..., 0].flatten().tolist())) == len(OPERATIONS)


@pytest.mark.parametrize("crop_per", ["clip", "video", "frame"])
@pytest.mark.parametrize("colour_per", ["clip", "video", "frame"])
def test_a_batch_finished_at_once_equals_items_finished_by_workers_and_shares_what_it_is_told_to(crop_per, colour_per):
    transform = Augment(
        32, jitter=1.0, grey=0.3, blur=0.5, frame_jitter=0.0, solarise=0.3, erase=0.5, rand_augment=RandAugment(2),
        crop_per=crop_per, colour_per=colour_per,
    )  # fmt: skip
    still = pictures(3, 40, 48)
    items = []
    for seed in range(3):
        torch.manual_seed(seed)
        items.append(transform.begin([still.expand(4, 3, 40, 48)] * 2))
    video, drawn = torch.stack([item[0] for item in items]), torch.stack([item[1] for item in items])
    assert drawn.shape == (3, transform.numbers(2, 4))
    together = transform.finish(video, drawn)
    alone = torch.cat([transform.finish(one[None], row[None]) for one, row in items])
    assert (together.int() - alone.int()).abs().max() <= 1
    for shown, per in ((video, crop_per), (together, colour_per)):
        frames = shown.float().mean((-1, -2))  # [3, N, T, 3]; in a noise box alone, frames of a clip differ
        if per != "frame" and crop_per != "frame":
            assert (frames - frames[:, :, :1]).abs().max() < 4
        if per == "video" and crop_per == "video":
            assert (frames - frames[:, :1]).abs().max() < 4
    if crop_per != "video":
        assert not torch.equal(video[:, 0], video[:, 1])
    if crop_per == "frame":
        assert not torch.equal(video[:, :, 0], video[:, :, 1])
    if (crop_per, colour_per) == ("video", "frame"):
        assert not torch.equal(together[:, :, 0], together[:, :, 1])


def test_clips_of_one_video_can_have_different_transforms():
    transform = PerClip([Augment(32, solarise=1.0, flip=0.0), Augment(32, grey=1.0, erase=1.0)])
    clips = [pictures(2, 3, 40, 40)] * 3
    torch.manual_seed(0)
    video, drawn = transform.begin(clips)
    out = transform.finish(torch.stack([video, video]), torch.stack([drawn, drawn]))
    assert drawn.shape == (transform.numbers(3, 2),)
    assert torch.equal(out[0], out[1])
    assert torch.equal(out[0, 0], V.solarize(video[0], 128))
    for clip in (1, 2):
        assert (out[0, clip] == V.rgb_to_grayscale(video[clip], 3)).float().mean() > 0.6
    assert not torch.equal(out[0, 1], out[0, 2])
    with pytest.raises(ValueError, match=r"one size, got \[32, 64\]"):
        PerClip([Augment(32), Augment(64)])


def test_blur_is_that_of_torchvision():
    clips = torch.randint(0, 256, (3, 2, 3, 40, 40), dtype=torch.uint8)
    sigma = torch.tensor([[0.3], [1.0], [2.0]])
    ours = Blur(kernel=9).make(clips, sigma)
    for clip, blurred, (value,) in zip(clips, ours, sigma.tolist(), strict=True):
        assert (blurred.int() - V.gaussian_blur(clip, [9, 9], [value, value]).int()).abs().max() <= 1


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_are_those_of_torchvision(name):
    frames, value = (
        pictures(2, 3, 40, 48),
        {"Posterize": 2.0, "Solarize": 100.0, "Rotate": 15.0, "SolarizeAdd": 60.0}.get(name, 0.25),
    )
    value = 1.5 if name in ("Color", "Contrast", "Brightness", "Sharpness") else value
    bilinear = {"interpolation": v2.InterpolationMode.BILINEAR, "fill": [114.0]}

    def affine(angle=0.0, translate=(0.0, 0.0), shear=(0.0, 0.0)):
        return V.affine(frames, angle, list(translate), 1.0, list(shear), **bilinear)

    lean = math.degrees(math.atan(value))
    theirs = {
        "AutoContrast": lambda: V.autocontrast(frames),
        "Equalize": lambda: V.equalize(frames),
        "Invert": lambda: 255 - frames,
        "Rotate": lambda: affine(angle=value),
        "Posterize": lambda: frames & 0b11000000,
        "Solarize": lambda: V.solarize(frames, 100),
        "SolarizeAdd": lambda: torch.where(frames < 128, frames + 60, frames),
        "Color": lambda: V.adjust_saturation(frames, value),
        "Contrast": lambda: V.adjust_contrast(frames, value),
        "Brightness": lambda: V.adjust_brightness(frames, value),
        "Sharpness": lambda: V.adjust_sharpness(frames, value),
        "ShearX": lambda: affine(shear=(lean, 0.0)),
        "ShearY": lambda: affine(shear=(0.0, lean)),
        "TranslateX": lambda: affine(translate=(-value * 48, 0.0)),
        "TranslateY": lambda: affine(translate=(0.0, -value * 40)),
    }[name]()
    inside = (slice(None), slice(None), slice(2, -2), slice(2, -2))  # fills at a border are blended otherwise
    ours = OPERATIONS[name].make(frames, value, 114)
    away = (ours.int() - theirs.int()).abs()[inside].float()
    assert away.quantile(0.95) <= 1, away.max()
    assert (ours != frames).any()


def test_randaugment_grows_with_its_magnitude_and_changes_nothing_at_zero():
    clip = pictures(2, 3, 40, 40)

    def difference(magnitude):
        torch.manual_seed(0)
        change = RandAugment(1, magnitude, 0.0, 1.0)
        rows = [change.draw(2) for _ in range(60)]
        kinds = [list(OPERATIONS)[int(row[1])] for row in rows]
        assert len(set(kinds)) > 10
        graded = [row for row, kind in zip(rows, kinds, strict=True) if OPERATIONS[kind].low != OPERATIONS[kind].high]
        graded = [row for row in graded if list(OPERATIONS)[int(row[1])] != "Posterize"]  # 4 bits at magnitude 0
        return torch.stack([change.apply(clip[None], row[None])[0].float() - clip for row in graded]).abs().mean()

    assert difference(0.0) < 0.5
    assert difference(2.0) < difference(5.0) < difference(10.0)


def test_erased_boxes_hold_noise_of_the_wanted_size_and_spread():
    torch.manual_seed(0)
    clips = torch.zeros(40, 4, 3, 64, 64, dtype=torch.uint8)
    change = RandomErasing(64, 1.0)
    drawn = torch.stack([change.draw(4) for _ in clips])
    out = change.apply(clips, drawn)
    share = drawn[:, 3] * drawn[:, 4] / 64**2
    assert 0.02 < share.min() < 0.06
    assert 0.25 < share.max() < 0.35
    assert torch.allclose((out > 0).float().mean((1, 2, 3, 4)), share, atol=0.03)  # noise of 0 occurs
    row = drawn[share.argmax()].int().tolist()
    inside = out[share.argmax(), ..., row[1] : row[1] + row[3], row[2] : row[2] + row[4]].float() / 255
    assert torch.allclose(inside.mean((0, 2, 3)), torch.tensor(MEAN), atol=0.02)
    assert torch.allclose(inside.std((0, 2, 3)), torch.tensor(STD), atol=0.03)
    assert not torch.equal(inside[0], inside[1])
    assert not torch.equal(noise(inside[0], 1, 0.5, 0.2), noise(inside[0], 2, 0.5, 0.2))


def test_multi_scale_crops_have_the_sizes_and_places_of_the_paper():
    frames = torch.empty(1, 3, 240, 320)
    crop = MultiScaleCrop((1.0, 0.875, 0.75, 0.66))
    boxes = {crop(frames) for _ in range(3000)}
    heights = {240, 210, 180, 158}
    assert {box.height for box in boxes} == {box.width for box in boxes} == heights
    assert all(abs(sorted(heights).index(box.height) - sorted(heights).index(box.width)) <= 1 for box in boxes)
    assert all(box.top + box.height <= 240 and box.left + box.width <= 320 for box in boxes)
    assert {(box.top, box.left) for box in boxes if box.height == box.width == 180} == {
        (60 * down // 4, 140 * across // 4) for down, across in MultiScaleCrop.PLACES
    }


def test_frames_are_decoded_as_large_as_wanted_and_never_larger_than_they_are():
    assert Augment(224, short_side=340, square=False).decode_size((480, 640)) == (340, 453)
    assert Augment(224, short_side=340, square=False).decode_size((640, 480)) == (453, 340)
    assert Augment(224, short_side=340, square=False).decode_size((240, 320)) == (240, 320)
    assert Augment(224, short_side=340).decode_size((480, 640)) == (340, 340)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Augment(0), "size is 0"),
        (lambda: Augment(flip=1.5), r"flip is 1\.5"),
        (lambda: Augment(scale=(0.5, 1.2)), "scale is"),
        (lambda: Augment(scale=(0.5, 0.2)), "smaller number first"),
        (lambda: Augment(ratio=(0.0, 1.0)), "ratio is"),
        (lambda: Augment(short_side=0), "short_side is 0"),
        (lambda: Augment(frame_jitter=-0.1), "frame_jitter is"),
        (lambda: Augment(strength=-1.0), "strength is"),
        (lambda: Augment(strength=(0.4, 0.4, 0.4, 0.6)), "hue is"),
        (lambda: Augment(strength=(0.4, 0.4, 0.4)), "expected one number, or four"),
        (lambda: Augment(sigma=(0.0, 1.0)), "sigma is"),
        (lambda: Augment(erase=2.0), "erase is"),
        (lambda: Augment(scales=[1.5]), "scales is"),
        (lambda: Augment(scales=[]), "scales is empty"),
        (lambda: Squash(0), "size is 0"),
        (lambda: RandomResizedCrop((0.0, 1.0)), "scale is"),
        (lambda: RandAugment(num_ops=0), "num_ops is 0"),
        (lambda: RandAugment(magnitude=11.0), "magnitude is"),
        (lambda: Blur(sigma=(2.0, 1.0)), "smaller number first"),
    ],
)
def test_values_out_of_range_are_refused_by_name(make, message):
    with pytest.raises(ValueError, match=message):
        make()
