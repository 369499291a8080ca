from __future__ import annotations

from pathlib import Path

import pytest

from avssl.catalog.annotations import annotate
from avssl.catalog.rows import Asked

PATHS = ["a/set1_seq01.mp4", "b/set1_seq02.mp4", "b/deep/set2_seq01.mp4"]
ROOT = Path("/videos")


def wholes(found):
    """Class, group and view of each file; rows of whole files have one class or none here."""
    rows = [row for (row,) in found.asked]
    assert all(row.start is None and row.stop is None for row in rows)
    return [((row.labels or (None,))[0], row.group, row.view) for row in rows]


def classes(*arguments, **options):
    return [label for label, _, _ in wholes(annotate(ROOT, *arguments, **options))]


def test_folders_name_the_classes():
    assert classes(PATHS) == ["a", "b", "deep"]
    assert classes(["all/x.mp4", "all/y.mp4"]) == [None, None]
    assert classes(["all/x.mp4"], labels="folders") == ["all"]
    assert classes(["x.mp4", "all/y.mp4"]) == [None, None]
    with pytest.raises(ValueError, match=r"1 of 2 files.*x\.mp4"):
        annotate(ROOT, ["x.mp4", "all/y.mp4"], labels="folders")
    assert classes(PATHS, labels="none") == [None] * 3


def test_sides_of_a_split_are_no_classes():
    flat = ["train/x.mp4", "Val/y.mp4"]
    assert classes(flat) == [None, None]
    assert "Val, train are taken for the sides of a split" in annotate(ROOT, flat).notes[0]
    assert classes(flat, labels="folders") == ["train", "Val"]
    assert classes([*flat, "run/z.mp4"]) == ["train", "Val", "run"]


def test_expressions_find_group_and_view():
    assert wholes(annotate(ROOT, PATHS, labels="none", group=r"set\d_seq\d+", view=r"seq0(\d)")) == [
        (None, "set1_seq01", "1"),
        (None, "set1_seq02", "2"),
        (None, "set2_seq01", "1"),
    ]
    with pytest.raises(ValueError, match=r"group='seq01' matches nothing in 1 of 3 paths.*seq02"):
        annotate(ROOT, PATHS, group="seq01")
    with pytest.raises(ValueError, match="not a regular expression"):
        annotate(ROOT, PATHS, group="(")


def write(folder: Path, text: str | bytes) -> str:
    (folder / "labels.csv").write_bytes(text.encode() if isinstance(text, str) else text)
    return str(folder / "labels.csv")


def test_a_csv_annotates(tmp_path):
    table = write(tmp_path, "path,label,group\na/set1_seq01.mp4,run,g1\n/videos/b/set1_seq02.mp4,,g2\nb/none.mp4,y,\n")
    found = annotate(ROOT, PATHS, labels=table, view="set(.)")
    assert wholes(found) == [("run", "g1", "1"), (None, "g2", "1"), (None, None, "2")]
    assert found.missing == ["b/none.mp4"]
    assert found.notes == [
        f"{table} (read as table): 3 rows, 2 of 3 files named",
        "1 listed files are not in the collection, such as b/none.mp4",
        "1 files are in no list: they have no class",
    ]
    with pytest.raises(ValueError, match="already has a column group"):
        annotate(ROOT, PATHS, labels=table, group="set.")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\nx,y\n", r"columns \['path'\] are missing; it has \['file', 'label'\]"),
        ("", r"columns \['path', 'label'\] are missing"),
        (
            "path,label\nb/none.mp4,y\n",
            r"none of 1 rows names a file in /videos\. They name b/none\.mp4; there are a/s",
        ),
        (
            "path,label\na/set1_seq01.mp4,x\n./a/set1_seq01.mp4,y\n",
            r"line 3: .*already given in line 2 as x; now it is y",
        ),
        ("path,label\n1.mp4,lift, then drop\n2.mp4,lift\n", r"labels\.csv, line 2: 3 fields, but there are 2 columns"),
        ('path,label\n1.mp4,"run\n2.mp4,jump\n', r"labels\.csv, line 2: a quote is not closed"),
        ('path,label\n1.mp4,"run\n2.mp4,"\n', r"labels\.csv, line 2: a class holds the end of a line"),
        ("path,label\n1.mp4,dîner\n".encode("latin-1"), r"labels\.csv, line 2: not text in UTF-8.*encoding=latin-1"),
        ("path,label\n1.mp4,run\n".encode("utf-16-le"), r"labels\.csv: not text in UTF-8: it has zero bytes"),
    ],
)
def test_a_wrong_csv_is_refused(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        annotate(ROOT, PATHS, labels=write(tmp_path, text))


def test_a_missing_csv_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.csv: no such file; expected `auto`"):
        annotate(ROOT, PATHS, labels=str(tmp_path / "none.csv"))


def test_segments_leave_out_what_no_list_names(tmp_path):
    table = write(tmp_path, "path,start,stop,label\na/set1_seq01.mp4,1.5,2,run\na/set1_seq01.mp4,0,1.5,walk\n")
    found = annotate(ROOT, PATHS, labels=table, group="set.")
    walk, run = Asked(None, 0.0, 1.5, ("walk",), "set1"), Asked(None, 1.5, 2.0, ("run",), "set1")
    assert found.asked == [[walk, run], [], []]
    assert found.notes[-1] == "2 files are in no list: left out"
