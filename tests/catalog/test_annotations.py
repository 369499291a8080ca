from __future__ import annotations

from pathlib import Path

import pytest

from avssl.catalog.annotations import Annotation, annotate

PATHS = ["a/set1_seq01.mp4", "b/set1_seq02.mp4", "b/deep/set2_seq01.mp4"]
ROOT = Path("/videos")


def test_folders_name_the_classes():
    assert [note.label for note in annotate(ROOT, PATHS).values()] == ["a", "b", "deep"]
    assert [note.label for note in annotate(ROOT, ["all/x.mp4", "all/y.mp4"]).values()] == [None, None]
    assert [note.label for note in annotate(ROOT, ["all/x.mp4"], labels="folders").values()] == ["all"]
    assert [note.label for note in annotate(ROOT, ["x.mp4", "all/y.mp4"]).values()] == [None, None]
    with pytest.raises(ValueError, match=r"1 of 2 files.*x\.mp4"):
        annotate(ROOT, ["x.mp4", "all/y.mp4"], labels="folders")
    assert [note.label for note in annotate(ROOT, PATHS, labels="none").values()] == [None] * 3


def test_expressions_find_group_and_view():
    notes = annotate(ROOT, PATHS, labels="none", group=r"set\d_seq\d+", view=r"seq0(\d)")
    assert list(notes.values()) == [
        Annotation(None, "set1_seq01", "1"),
        Annotation(None, "set1_seq02", "2"),
        Annotation(None, "set2_seq01", "1"),
    ]
    with pytest.raises(ValueError, match=r"group='seq01' matches nothing in 1 of 3 paths.*seq02"):
        annotate(ROOT, PATHS, group="seq01")
    with pytest.raises(ValueError, match="not a regular expression"):
        annotate(ROOT, PATHS, group="(")


def write(folder: Path, text: str) -> str:
    (folder / "labels.csv").write_text(text)
    return str(folder / "labels.csv")


def test_a_csv_annotates(tmp_path):
    table = write(tmp_path, "path,label,group\na/set1_seq01.mp4,run,g1\n/videos/b/set1_seq02.mp4,,g2\n")
    assert list(annotate(ROOT, PATHS, labels=table, view="set(.)").values()) == [
        Annotation("run", "g1", "1"),
        Annotation(None, "g2", "1"),
        Annotation(None, None, "2"),
    ]
    with pytest.raises(ValueError, match="already has a column group"):
        annotate(ROOT, PATHS, labels=table, group="set.")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\nx,y\n", r"columns \['path'\] are missing; it has \['file', 'label'\]"),
        ("", r"columns \['path', 'label'\] are missing"),
        ("path,label\na/set1_seq01.mp4,x\nb/none.mp4,y\n", r"1 of 2 paths are not videos in /videos.*line 3: b/none"),
        ("path,label\na/set1_seq01.mp4,x\n./a/set1_seq01.mp4,y\n", r"line 3: .*already given in line 2"),
    ],
)
def test_a_wrong_csv_is_refused(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        annotate(ROOT, PATHS, labels=write(tmp_path, text))


def test_a_missing_csv_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.csv: no such file; expected `auto`"):
        annotate(ROOT, PATHS, labels=str(tmp_path / "none.csv"))
