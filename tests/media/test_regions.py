"""The part of a picture that copies show is noted beside them."""

from __future__ import annotations

import pytest

from avssl.media.regions import NOTE, WHOLE, left_to_crop, note_region, noted_region


def test_a_region_is_noted_for_all_that_lies_below(tmp_path):
    assert noted_region(tmp_path / "a" / "b") == WHOLE
    note_region(tmp_path, (0.3, 0.4, 0.7, 0.8))
    assert noted_region(tmp_path / "a" / "b") == noted_region(tmp_path) == (0.3, 0.4, 0.7, 0.8)
    note_region(tmp_path, WHOLE)  # prepared again without a region
    assert noted_region(tmp_path) == WHOLE
    (tmp_path / NOTE).write_text("{}")
    with pytest.raises(ValueError, match=r"region\.json: expected a region"):
        noted_region(tmp_path)


def test_what_is_left_to_crop():
    wanted = (0.25, 0.5, 0.75, 1.0)
    assert left_to_crop(wanted, WHOLE) == wanted
    assert left_to_crop(wanted, wanted) == WHOLE
    assert left_to_crop(wanted, (0.0, 0.5, 1.0, 1.0)) == (0.25, 0.0, 0.75, 1.0)
    with pytest.raises(ValueError, match="lies outside"):
        left_to_crop(wanted, (0.3, 0.5, 1.0, 1.0))
