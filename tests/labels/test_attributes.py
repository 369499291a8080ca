"""Attributes that are recorded with a file, as numbers."""

import pytest
import torch
from PIL import Image

from avssl.labels import RecordedAttributes
from avssl.labels.attributes import exif, read_attributes
from avssl.media import probe


def photo(path, make, time=None):
    header = Image.Exif()
    header[271] = make
    if time is not None:
        header.get_ifd(0x8769)[33434] = time  # ExposureTime
    Image.new("RGB", (32, 24), "teal").save(path, exif=header)
    return path


def test_equal_values_have_equal_numbers_and_missing_ones_none(tmp_path):
    photos = [
        photo(tmp_path / "a.jpg", "Canon", 0.01),
        photo(tmp_path / "b.jpg", "Canon"),
        photo(tmp_path / "c.jpg", "Leica"),
    ]
    read = RecordedAttributes(["Make", "ExposureTime"])
    clip = torch.zeros(2, 1, 3, 8, 8, dtype=torch.uint8)
    one, two, three = (read(clip, torch.zeros(2, 1), probe(path)) for path in photos)
    assert one.shape == (2, 2)
    assert torch.equal(one[0], one[1])
    assert one[0, 0] == two[0, 0] != three[0, 0]
    assert one[0, 1] >= 0
    assert two[0, 1] == three[0, 1] == -1


def test_a_side_file_goes_before_the_header_and_a_wrong_one_is_named(tmp_path):
    path = photo(tmp_path / "a.jpg", "Canon")
    side = tmp_path / "a.camera.json"
    side.write_text('{"Make": "Zorki"}')
    assert read_attributes(path) == {"Make": "Zorki"}
    read_attributes.cache_clear()
    side.write_text("[1]")
    with pytest.raises(ValueError, match=r"a\.camera\.json: expected an object"):
        read_attributes(path)
    side.write_text("{")
    with pytest.raises(ValueError, match=r"a\.camera\.json is not JSON"):
        read_attributes(path)


def test_names_are_checked():
    with pytest.raises(ValueError, match="different names"):
        RecordedAttributes(["Make", "Make"])
    with pytest.raises(ValueError, match="at least one"):
        RecordedAttributes([])


def test_real_photographs_tell_their_camera(shared_data):
    found = exif(shared_data / "exif_photos/Canon_PowerShot_S40.jpg")
    assert found["Make"] == "Canon"
    assert "S40" in found["Model"]
    known = [exif(path) for path in sorted((shared_data / "exif_photos").glob("*.jpg"))]
    assert sum("Make" in one for one in known) >= 15
