"""Who trains and who is tested, from file names and official lists; wrong input is refused with the files' names."""

from pathlib import Path

import pytest
from tiny import listed, write_video

from avssl.catalog.manifest import Manifest
from avssl.cli.index import run as index
from avssl.evaluation.lists import CSVLists, HMDB51Lists, UCF101Lists
from avssl.evaluation.splits import Fold, Folds, GroupFolds, LeaveOneGroupOut, check_folds

UT = r"(?P<part>set[12])_(?P<group>seq[0-9]+)_"


def ut_interaction():
    names = [
        f"{name}/set{1 + (seq > 3)}_seq{seq:02d}_{i:03d}_{name}.avi"
        for i, name in enumerate(("hug", "kick"))
        for seq in range(1, 7)
    ]
    return listed(names)


def test_leave_one_sequence_out_stays_within_a_set():
    videos = ut_interaction()
    folds = check_folds(LeaveOneGroupOut(UT)(videos), videos).folds
    assert [fold.name for fold in folds] == [f"set{1 + (seq > 3)}/seq{seq:02d}" for seq in range(1, 7)]
    paths = videos.paths()
    for fold in folds:
        assert len(fold.test) == 2
        assert len(fold.train) == 4
        assert {paths[i].name[:4] for i in (*fold.train, *fold.test)} == {fold.part}
        assert not {paths[i].name[5:10] for i in fold.train} & {paths[i].name[5:10] for i in fold.test}


def test_a_name_without_group_is_named():
    with pytest.raises(ValueError, match=r"finds no \(\?P<group>.*other\.avi"):
        LeaveOneGroupOut(UT)(listed(["hug/other.avi"]))


def test_group_folds_keep_groups_whole_and_test_every_video_once():
    names = [f"{name}/{i}.avi" for name in "ab" for i in range(12)]
    groups = [f"g{i // 2}" for _ in "ab" for i in range(12)]
    videos = listed(names, groups)
    folds = check_folds(GroupFolds(3)(videos), videos).folds
    assert sorted(i for fold in folds for i in fold.test) == list(range(24))
    for fold in folds:
        assert not {groups[i] for i in fold.train} & {groups[i] for i in fold.test}


def test_a_class_with_one_video_is_refused():
    with pytest.raises(ValueError, match=r"class 'b' has 1 video\(s\) in 1 group"):
        GroupFolds(2)(listed(["a/1.avi", "a/2.avi", "b/1.avi"]))
    videos = listed(["a/1.avi", "a/2.avi", "b/1.avi"])
    with pytest.raises(ValueError, match=r"class 'b' has 1 test video\(s\) and none to train on"):
        check_folds(Folds((Fold("f", (0,), (1, 2)),), ("1", "2", "3")), videos)


def test_a_group_on_both_sides_names_both_files():
    videos = listed(["a/1.avi", "a/2.avi"])
    with pytest.raises(ValueError, match=r"group 'g' is on both sides: .*a/1\.avi in training, .*a/2\.avi in test"):
        check_folds(Folds((Fold("f", (0,), (1,)),), ("g", "g")), videos)


def test_an_exact_duplicate_across_sides_names_both_files_and_official_lists_report_it():
    videos = listed(["a/1.avi", "a/2.avi"], contents=["same", "same"])
    folds = Folds((Fold("f", (0,), (1,)),), ("g", "h"))
    with pytest.raises(ValueError, match=r"a/1\.avi in training and .*a/2\.avi in test have the same content"):
        check_folds(folds, videos)
    official = check_folds(Folds(folds.folds, folds.groups, official=True), videos)
    assert official.duplicates == (("/videos/a/1.avi", "/videos/a/2.avi"),)


def test_ucf101_lists(tmp_path):
    names = [f"{c}/v_{c}_g{g:02d}_c01.avi" for c in ("ApplyLipstick", "Archery") for g in range(1, 5)]
    videos = listed(names)
    for number in (1, 2, 3):
        test = [name for name in names if f"_g{number:02d}_" in name]
        train = [name for name in names if name not in test]
        (tmp_path / f"trainlist{number:02d}.txt").write_text("\n".join(f"{name} 1" for name in train) + "\n")
        (tmp_path / f"testlist{number:02d}.txt").write_text("\n".join(test) + "\n\n")
    folds = check_folds(UCF101Lists(tmp_path)(videos), videos)
    assert [fold.name for fold in folds.folds] == ["split1", "split2", "split3"]
    assert [names[i] for i in folds.folds[1].test] == [name for name in names if "_g02_" in name]
    assert len(folds.folds[0].train) == 6
    assert folds.groups[0] == "ApplyLipstick/01"


def test_ucf101_lists_join_with_prepared_copies(tmp_path):
    names = [f"{c}/v_{c}_g{g:02d}_c01" for c in ("Archery", "Biking") for g in (1, 8)]
    for side, group in (("train", "08"), ("test", "01")):
        lines = [f"{name}.avi 1" for name in names if f"_g{group}_" in name]
        (tmp_path / f"{side}list01.txt").write_bytes("\r\n".join(lines).encode())
    videos = listed([f"{name}.mp4" for name in names])
    (fold,) = check_folds(UCF101Lists(tmp_path, (1,))(videos), videos).folds
    assert (fold.train, fold.test) == ((1, 3), (0, 2))


def test_missing_list_or_video_is_named(tmp_path):
    videos = listed(["Archery/v_Archery_g01_c01.avi"])
    with pytest.raises(FileNotFoundError, match=r"trainlist01\.txt: no such split file"):
        UCF101Lists(tmp_path)(videos)
    (tmp_path / "trainlist01.txt").write_text("Archery/v_Archery_g09_c01.avi 1\n")
    with pytest.raises(ValueError, match=r"1 of 1 listed videos are not in the collection.*g09"):
        UCF101Lists(tmp_path)(videos)


def test_hmdb51_lists(tmp_path):
    names = [f"{c}/clip_{c}_{i}.avi" for c in ("cartwheel", "wave") for i in range(3)]
    videos = listed(names)
    for name in ("cartwheel", "wave"):
        lines = [f"clip_{name}_{i}.avi {mark} " for i, mark in enumerate((1, 2, 0))]
        (tmp_path / f"{name}_test_split1.txt").write_text("\n".join(lines))
    (fold,) = check_folds(HMDB51Lists(tmp_path, splits=(1,))(videos), videos).folds
    assert [names[i] for i in fold.train] == ["cartwheel/clip_cartwheel_0.avi", "wave/clip_wave_0.avi"]
    assert [names[i] for i in fold.test] == ["cartwheel/clip_cartwheel_1.avi", "wave/clip_wave_1.avi"]


def test_kinetics_csv_counts_what_is_missing(tmp_path):
    videos = listed(
        ["abseiling/aaa_000010_000020.mp4", "abseiling/bbb_000003_000013.mp4", "yoga/ccc.mp4", "yoga/d.mp4"]
    )
    header = "label,youtube_id,time_start,time_end,split"
    train = ["abseiling,aaa,10,20,train", "yoga,ccc,1,11,train", "yoga,gone,1,11,train"]
    (tmp_path / "train.csv").write_text("\n".join([header, *train]))
    (tmp_path / "val.csv").write_text(f"{header}\nabseiling,bbb,3,13,val\n")
    lists = tmp_path / "train.csv", tmp_path / "val.csv"
    with pytest.raises(ValueError, match=r"1 of 3 listed videos are not in the collection, first \['gone'\]"):
        CSVLists(*lists)(videos)
    (fold,) = check_folds(CSVLists(*lists, allow_missing=0.4)(videos), videos).folds
    assert (fold.train, fold.test, fold.missing) == ((0, 2), (1,), 1)


def test_csv_by_path_honours_its_groups(tmp_path):
    videos = listed(["a/1.avi", "a/2.avi"])
    (tmp_path / "train.csv").write_text("path,group\na/1.avi,g\n")
    (tmp_path / "test.csv").write_text("path,group\na/2.avi,g\n")
    with pytest.raises(ValueError, match="group 'g' is on both sides"):
        check_folds(CSVLists(tmp_path / "train.csv", tmp_path / "test.csv")(videos), videos)
    (tmp_path / "test.csv").write_text("video\n1\n")
    with pytest.raises(ValueError, match="needs a header with `path`"):
        CSVLists(tmp_path / "train.csv", tmp_path / "test.csv")(videos)


def test_kinetics_as_it_is_distributed(tmp_path):
    """Flat folders of clips and CSV files with the classes: from the command to the folds."""
    lists = {"train": ["run,aaa,9,19,train", "jump a fence,-bb,21,31,train", "run,gone,1,11,train"]}
    lists["val"] = ["run,cc_c,0,10,val", "jump a fence,ddd,5,15,val"]
    for side, rows in lists.items():
        text = "\n".join(["label,youtube_id,time_start,time_end,split", *rows])
        (tmp_path / f"{side}.csv").write_bytes(text.encode("utf-16"))  # as a spreadsheet saves it
        for row in rows:
            _, video, start, stop, _ = row.split(",")
            if video != "gone":
                name = f"{video}_{int(start):06d}_{int(stop):06d}.avi"
                write_video(tmp_path / "videos" / side / name, "down", len(name) + ord(video[-1]))
    out, files = tmp_path / "k.parquet", [str(tmp_path / f"{side}.csv") for side in lists]
    index(
        [
            str(tmp_path / "videos"),
            "-o",
            str(out),
            "--labels",
            files[0],
            "--labels",
            files[1],
            "--no-motion",
            "--workers=1",
        ]
    )
    videos = Manifest.open(out)
    assert videos.classes == ["jump a fence", "run"]
    (fold,) = check_folds(CSVLists(Path(files[0]), Path(files[1]), allow_missing=0.4)(videos), videos).folds
    assert [videos.paths()[i].stem for i in (*fold.train, *fold.test)] == [
        *("aaa_000009_000019", "-bb_000021_000031", "cc_c_000000_000010", "ddd_000005_000015"),
    ]
    assert fold.missing == 1
    assert (tmp_path / "k.parquet.missing.txt").read_text() == "gone_000001_000011\n"
    index([str(tmp_path / "videos"), "-o", str(out), "--no-motion", "--workers=1"])  # without lists: no classes
    with pytest.raises(ValueError, match=r"has no label \(4 such videos\).*avssl index --labels"):
        check_folds(CSVLists(Path(files[0]), Path(files[1]), allow_missing=0.4)(Manifest.open(out)), Manifest.open(out))


def test_published_lists_of_segments(tmp_path):
    """Segments are found by the list's id, else by file and seconds; a recording on both sides is reported."""
    common = {"root": "/videos", "status": "ok", "content": "x", "group": "aaa", "duration": 10.0}
    rows = [
        {**common, "path": "aaa.mp4", "asked": [0.0, 10.0], "name": "aaa_000000", "labels": ["run"]},
        {**common, "path": "aaa.mp4", "asked": [30.0, 40.0], "start": 30.0, "labels": ["run"]},
        {**common, "path": "copy.mp4", "name": "bbb_000005", "group": "bbb", "content": "y", "labels": ["run"]},
        {**common, "path": "aaa.mp4", "asked": [50.0, 60.0], "start": 50.0, "labels": ["run"]},  # in neither list
    ]
    videos = Manifest.from_rows(rows)
    (tmp_path / "train.csv").write_text("aaa,0,run,train\nbbb,5,run,train\n")
    (tmp_path / "test.csv").write_text("aaa_000030.mp4,run\n")
    lists = tmp_path / "train.csv", tmp_path / "test.csv"
    folds = check_folds(CSVLists(*lists, format="vggsound")(videos), videos)
    assert (folds.folds[0].train, folds.folds[0].test) == ((0, 2), (1,))
    assert folds.groups == ("aaa", "aaa", "bbb", "aaa")
    assert folds.duplicates == (("/videos/aaa.mp4 (0 to 10 s)", "/videos/aaa.mp4 (30 to 40 s)"),)
    twice = Manifest.from_rows([*rows, {**rows[2], "path": "bbb.mp4", "asked": [5.0, 15.0]}])  # another's id
    assert CSVLists(*lists, format="vggsound")(twice).folds[0].train == (0, 4)
    for side, name in (("train", "copy.mp4"), ("test", "aaa.mp4")):
        (tmp_path / f"{side}.csv").write_text(f"path\n{name}\n")
    (fold,) = check_folds(CSVLists(*lists)(videos), videos).folds  # a whole file: all of its segments
    assert (fold.train, fold.test) == ((2,), (0, 1, 3))
