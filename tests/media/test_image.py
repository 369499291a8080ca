"""Images are recordings of one frame."""

import numpy as np
import pytest
import torch
from PIL import Image

from avssl.catalog.copies import prepare
from avssl.catalog.finding import find_media
from avssl.catalog.index import open_manifest
from avssl.media import MediaError, open_video, probe

HALVES = np.zeros((20, 30, 3), np.uint8)
HALVES[:, :15] = (200, 100, 50)  # the left half


def shown(path, size=None):
    with open_video(path) as reader:
        return reader.frames(torch.zeros(1, dtype=torch.float64), size)[0]


@pytest.mark.parametrize("ending", ["bmp", "png", "webp", "jpg", "JPEG"])
def test_an_image_is_a_recording_of_one_frame(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    Image.fromarray(HALVES).save(path, **({"lossless": True} if ending == "webp" else {}))
    info = probe(path)
    assert (info.num_frames, info.size, info.duration, info.audio, info.backends) == (
        1,
        (20, 30),
        0.04,
        None,
        ("image",),
    )
    with open_video(path, info=info) as reader:
        frames = reader.frames(torch.tensor([0.0, 0.039]).double())
        assert frames.shape == (2, 3, 20, 30)
        assert torch.equal(frames[0], frames[1])
        close = (frames[0].permute(1, 2, 0).int() - torch.from_numpy(HALVES).int()).abs()[:, [0, 5, 25]]
        assert close.max() <= (12 if ending in ("jpg", "JPEG") else 0)
        with pytest.raises(ValueError, match=r"lasts from 0 to 0\.04"):
            reader.frames(torch.tensor([0.04], dtype=torch.float64))
        with pytest.raises(MediaError, match="no_audio"):
            reader.audio(0, 0.04, 16000)
    with pytest.raises(MediaError, match="unsafe_backend"):
        open_video(path, "pyav")


def test_it_is_scaled_over_all_pixels(tmp_path):
    Image.fromarray(np.indices((40, 40)).sum(0).astype(np.uint8) % 2 * 200).save(tmp_path / "board.png")
    assert (shown(tmp_path / "board.png", (10, 10)).int() - 100).abs().max() <= 12


def test_it_is_turned_as_the_camera_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees
    Image.fromarray(HALVES).save(tmp_path / "a.png", exif=exif)
    assert probe(tmp_path / "a.png").size == (30, 20)
    pixels = shown(tmp_path / "a.png")
    assert pixels[:, 0, 0].tolist() == [200, 100, 50]  # left has become top
    assert pixels[:, -1, 0].tolist() == [0, 0, 0]


def test_what_is_transparent_lies_over_white_and_grey_and_palettes_become_rgb(tmp_path):
    clear = np.dstack([HALVES, np.repeat([[255] * 15 + [0] * 15], 20, 0)]).astype(np.uint8)
    Image.fromarray(clear).save(tmp_path / "clear.png")
    assert shown(tmp_path / "clear.png")[:, 0, -1].tolist() == [255, 255, 255]
    assert shown(tmp_path / "clear.png")[:, 0, 0].tolist() == [200, 100, 50]
    Image.fromarray(HALVES[..., 0]).save(tmp_path / "grey.png")
    assert shown(tmp_path / "grey.png")[:, 0, 0].tolist() == [200, 200, 200]
    Image.fromarray(HALVES).convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "palette.png")
    assert shown(tmp_path / "palette.png")[:, 0, 0].tolist() == [200, 100, 50]


def test_what_can_not_be_read_says_why(tmp_path):
    (tmp_path / "page.jpg").write_text("<html>")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:3000])
    Image.fromarray(np.full((8, 8), 3000, np.uint16)).save(tmp_path / "depth.png")
    for name, code in {"page.jpg": "not_media", "cut.png": "truncated", "depth.png": "undecodable"}.items():
        with pytest.raises(MediaError) as caught:
            probe(tmp_path / name)
        assert caught.value.code == code
    Image.fromarray(HALVES).save(tmp_path / "large.png")
    gone = probe(tmp_path / "large.png").__class__(tmp_path / "gone.png", 0.04, 25.0, (20, 30), backends=("image",))
    with open_video(gone.path, info=gone) as reader, pytest.raises(MediaError, match="unreadable"):
        reader.frames(torch.zeros(1, dtype=torch.float64))
    with pytest.raises(MediaError, match="too_large"):
        probe(tmp_path / "large.png", max_pixels=599)


def test_a_folder_of_images_is_a_collection_and_thumbnails_beside_videos_are_none(tmp_path, world):
    for name in ("a/1.png", "a/2.jpg", "b/3.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(HALVES).save(tmp_path / name)
    videos = open_manifest(tmp_path)
    assert videos.classes == ["a", "b"]
    assert [info.label for info in videos] == [0, 0, 1]
    assert videos[0].motion.tolist() == [0.0]
    with pytest.raises(ValueError, match="some sources are images"):
        prepare(videos, tmp_path / "../copies")
    (tmp_path / "movie.mp4").write_bytes(next(world.rglob("*.mp4")).read_bytes())
    assert [file.path for file in find_media(tmp_path)] == ["movie.mp4"]
