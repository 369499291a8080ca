"""Published lists, as they are: every sample is read, its rows counted by other means, and its files found."""

import csv
import json
import os
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from avssl.catalog.annotations import annotate
from avssl.catalog.formats import FORMATS
from avssl.catalog.listing import read_list
from avssl.catalog.matching import key_of
from avssl.catalog.names import read_names
from avssl.catalog.rows import Asked

SAMPLES = Path(os.environ.get("AVSSL_TEST_DATA", Path(__file__).parents[3] / "shared" / "data")) / "annotations"
needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason="AVSSL_TEST_DATA/annotations: no published lists")


def table(name, **how):
    with open(SAMPLES / name, newline="", encoding="utf-8-sig") as file:
        return [row for row in csv.reader(file, **how) if row]


def match(name, paths, format=None, columns=None):
    return read_list(SAMPLES / name, format, columns).match(paths, Path("/videos"))


def rows_of(matched):
    return [row for position in sorted(matched.asked) for row in matched.asked[position]]


@needs_samples
@pytest.mark.parametrize(
    ("name", "labelled"),
    [
        ("kinetics/kinetics-400_val.head50.csv", 49),
        ("kinetics/kinetics-400_test.head50.csv", 0),
        ("kinetics/kinetics-600_val.head50.csv", 49),
        ("kinetics/kinetics-600_val.repeated_ids.csv", 12),
    ],
)
def test_kinetics_by_clip_and_by_video(name, labelled):
    listed = [dict(zip(table(name)[0], row, strict=True)) for row in table(name)[1:]]
    clips = [
        f"{row['split']}/{row['youtube_id']}_{int(row['time_start']):06d}_{int(row['time_end']):06d}.mp4"
        for row in listed
    ]
    found = match(name, clips)  # its columns tell the format
    assert len(found.asked) == len(listed) == found.num_rows
    assert all(row.start is None for row in rows_of(found))
    assert [found.asked[index][0].labels for index in range(len(listed))] == [
        (row["label"],) if "label" in row else None for row in listed
    ]
    assert sum(row.labels is not None for row in rows_of(found)) == labelled
    videos = sorted({f"{row['youtube_id']}.webm" for row in listed})
    found = match(name, videos)
    assert len(rows_of(found)) == len(listed)
    assert len(found.asked) == len(videos)
    assert all(
        row.stop - row.start == 10 and row.group == videos[i][:-5] for i, rows in found.asked.items() for row in rows
    )
    told = [note for note in found.notes if "recordings have several rows" in note]
    assert bool(told) == ("repeated" in name)
    assert not told or told[0].startswith("6 recordings")


@needs_samples
def test_a_clip_is_found_in_its_class_folder_and_what_lacks_is_counted():
    paths = ["abseiling/0wR5jVB-WPk_000417_000427.mp4", "other/0wR5jVB-WPk_000417_000427.mp4", "x.mp4"]
    found = annotate(Path("/v"), paths, SAMPLES / "kinetics/kinetics-400_val.head50.csv")
    assert [[row.labels for row in rows] for rows in found.asked] == [[("abseiling",)], [None], [None]]
    assert len(found.missing) == 48
    assert any(
        note.startswith("48 listed files are not in the collection, such as 3caPS4FHFF8") for note in found.notes
    )


@needs_samples
def test_vggsound_groups_clips_of_one_video():
    for name in ("vggsound/test.head50.csv", "vggsound/test.same_source_rows.csv"):
        listed = table(name)
        found = match(name, [row[0] for row in listed], "vggsound")
        assert [row.labels for row in rows_of(found)] == [(row[1],) for row in listed]
    both = [row.group for row in rows_of(found) if row.name.startswith("B5KE79I2f-A")]
    assert both == ["B5KE79I2f-A"] * 2
    assert "1 recordings have several rows, such as B5KE79I2f-A" in found.notes[-1]
    assert ("fly, housefly buzzing",) in [row.labels for row in rows_of(found)]
    with pytest.raises(ValueError, match=r"stat\.head50\.csv, line 1: expected `id,start,label,split`"):
        list(read_list(SAMPLES / "vggsound/stat.head50.csv", "vggsound"))


def test_vggsound_whole_list(tmp_path):
    (tmp_path / "vggsound.csv").write_text('---g-f_I2yQ,1,"people, talking",test\r\n')
    listed = read_list(tmp_path / "vggsound.csv", "vggsound")
    whole = Asked("---g-f_I2yQ_000001", None, None, ("people, talking",), "---g-f_I2yQ")
    assert listed.match(["a/---g-f_I2yQ_000001.mp4"]).asked == {0: [whole]}
    assert listed.match(["---g-f_I2yQ.mkv"]).asked == {0: [whole._replace(start=1.0, stop=11.0)]}
    clips = read_list(tmp_path / "vggsound.csv", "vggsound:clips")
    assert clips.match(["---g-f_I2yQ.mkv"]).asked == {0: [whole]}


@needs_samples
@pytest.mark.parametrize(
    "name", ["balanced_train_segments.head50.csv", "eval_segments.head50.csv", "original_eval_segments.head50.csv"]
)
def test_audioset_by_class_names(name, tmp_path):
    listed = table(f"audioset/{name}", skipinitialspace=True)[1:]
    ids = {row[1]: row[2] for row in table("audioset/class_labels_indices.head50.csv")[1:]}
    found = match(f"audioset/{name}", [f"{row[0]}.mp4" for row in listed], "audioset")
    assert [(row.start, row.stop, row.labels) for row in rows_of(found)] == [
        (float(row[1]), float(row[2]), tuple(sorted(row[3].split(",")))) for row in listed
    ]
    names = {"names": str(SAMPLES / "audioset/class_labels_indices.head50.csv")}
    with pytest.raises(ValueError, match=r"line \d+: class '/[mgt]/\w+' is not in the names file"):
        match(f"audioset/{name}", [], "audioset", names)
    rare = sorted({label for row in listed for label in row[3].split(",")} - ids.keys())
    ids |= {label: f"{label}, rare" for label in rare}
    lines = "".join(f'{1000 + number},{label},"{label}, rare"\n' for number, label in enumerate(rare))
    (tmp_path / "all.csv").write_text(Path(names["names"]).read_text() + lines)
    found = match(
        f"audioset/{name}", [f"{row[0]}.mp4" for row in listed], "audioset", {"names": str(tmp_path / "all.csv")}
    )
    assert [row.labels for row in rows_of(found)] == [
        tuple(sorted(ids[label] for label in row[3].split(","))) for row in listed
    ]


def test_audioset_official_form(tmp_path):
    text = "# Segments csv created Sun Mar  5 2017\n# num_ytids=1, num_segs=1\n"
    text += "# YTID, start_seconds, end_seconds, positive_labels\n"
    (tmp_path / "e.csv").write_text(f'{text}--4gqARaEJE, 0.000, 10.000, "/m/068hy,/m/07q6cd_"\n')
    found = read_list(tmp_path / "e.csv", "audioset").match(["-x.mp4", "--4gqARaEJE_0_10000.mp4"])
    assert found.asked == {1: [Asked("--4gqARaEJE_0_10", None, None, ("/m/068hy", "/m/07q6cd_"), "--4gqARaEJE")]}


@needs_samples
def test_avspeech_with_mark_and_line_ends():
    listed = table("avspeech/avspeech_train.head50.csv")
    found = match("avspeech/avspeech_train.head50.csv", [f"{row[0]}.mp4" for row in listed], "avspeech")
    assert [(row.group, row.start, row.stop) for row in rows_of(found)] == [
        (row[0], float(row[1]), float(row[2])) for row in listed
    ]
    clips = [f"{row[0]}_{row[1]}_{row[2]}.mp4" for row in listed]
    found = match("avspeech/avspeech_train.head50.csv", clips, "avspeech")
    assert len(rows_of(found)) == 50
    assert all(row.start is None for row in rows_of(found))


@needs_samples
def test_howto100m_and_its_lists(tmp_path):
    listed = table("howto100m/validation_youcook.head20.csv")[1:]
    videos = sorted({row[4] for row in listed})
    found = match("howto100m/validation_youcook.head20.csv", [f"{video}.mp4" for video in videos], "howto100m")
    got = [(row.start, row.stop, row.labels, row.group) for row in rows_of(found)]
    assert Counter(got) == Counter((float(row[1]), float(row[0]), (row[2],), row[4]) for row in listed)
    listed = table("howto100m/milnce_hmdb51.head10.csv")[1:]
    found = match("howto100m/milnce_hmdb51.head10.csv", [row[0][:-4] + ".mp4" for row in listed], "howto100m")
    assert [row.labels for row in rows_of(found)] == [("brush_hair",)] * 9
    captions = {
        "a": {"start": [0, 3.5], "end": [4.0, 9], "text": ["x", "y"]},
        "b": {"start": [], "end": [], "text": []},
    }
    (tmp_path / "caption.json").write_text(json.dumps(captions))
    found = read_list(tmp_path / "caption.json", "howto100m").match(["a.mp4", "b.mp4"])
    assert found.asked == {0: [Asked(None, 0.0, 4.0, None, "a"), Asked(None, 3.5, 9.0, None, "a")]}


@needs_samples
def test_panda70m_is_read_and_never_run(tmp_path):
    found = match("panda70m/made_up.csv", ["AAAAAAAAAAA.mp4"])
    assert [(row.start, row.stop, row.name) for row in rows_of(found)] == [
        (16.3, 32.566, "AAAAAAAAAAA_00000"),
        (44.1, 49.066, "AAAAAAAAAAA_00001"),
    ]
    for cell in ("__import__('os').getcwd()", "[" * 5000, "{'a': 1}"):
        (tmp_path / "p.csv").write_text(f'videoID,url,timestamp,caption,matching_score\na,b,"{cell}",c,d\n')
        with pytest.raises(ValueError, match=r"p\.csv, line 2: not a list"):
            list(read_list(tmp_path / "p.csv", "panda70m"))


@needs_samples
def test_ucf101_lists_join_with_copies():
    for name in ("ucf101/original_trainlist01.head50.txt", "ucf101/original_testlist01.head50.txt"):
        lines = [line.split()[0] for line in (SAMPLES / name).read_text().splitlines()]
        paths = [line.replace(".avi", ".mp4") for line in lines]
        found = match(name, paths, "ucf101")
        assert [row.labels for row in rows_of(found)] == [(line.split("/")[0],) for line in lines]
        assert {row.group for row in rows_of(found)} == {re.sub(r"/.*_g(\d+)_.*", r"/\1", line) for line in lines}
    classes = read_names(SAMPLES / "ucf101/original_classInd.txt")
    assert len(classes) == 101
    assert classes["37"] == "HandstandPushups"
    with pytest.raises(ValueError, match=r"original_classInd\.txt, line 1: expected `Class/v_Class_g01_c01"):
        list(read_list(SAMPLES / "ucf101/original_classInd.txt", "ucf101"))


def test_ucf101_class_and_file_may_differ_in_case(tmp_path):
    (tmp_path / "trainlist01.txt").write_bytes(b"HandstandPushups/v_HandStandPushups_g08_c01.avi 37\r\n")
    for path in ("HandStandPushups/v_HandStandPushups_g08_c01.avi", "all/v_HandStandPushups_g08_c01.mp4"):
        found = read_list(tmp_path, "ucf101").match([path])
        assert found.asked[0][0].labels == ("HandstandPushups",)


@needs_samples
def test_hmdb51_with_marks_in_names():
    for name in ("brush_hair", "cartwheel"):
        (file,) = (SAMPLES / "hmdb51").glob(f"{name}_*")
        lines = [line.split() for line in file.read_text().splitlines()]
        found = match(file, [f"{name}/{line[0]}" for line in lines], "hmdb51")
        assert [row.labels for row in rows_of(found)] == [(name,)] * len(lines)
        sides = Counter(entry.side for _, entry in read_list(file, "hmdb51"))
        assert sides == Counter(line[1] for line in lines)
    assert any(line[0].startswith("(Rad)Schlag_die_Bank!") for line in lines)
    assert len(list(read_list(SAMPLES / "hmdb51", "hmdb51"))) == 107  # a folder: only whole lists


@needs_samples
def test_charades_and_multithumos_by_action_and_by_video():
    for format, name, form in (
        ("charades", "charades/super_events_charades.first50.json", "c{:03d}"),
        ("multithumos", "multithumos/super_events_multithumos.first5.json", "{}"),
    ):
        facts = json.loads((SAMPLES / name).read_text())
        paths = [f"{video}.mp4" for video in facts]
        found = match(name, paths, format)
        actions = {(v, form.format(c), a, b) for v, fact in facts.items() for c, a, b in fact["actions"] if a < b}
        assert {
            (paths[i][:-4], *row.labels, row.start, row.stop) for i, rows in found.asked.items() for row in rows
        } == actions
        assert found.num_rows == sum(len(fact["actions"]) for fact in facts.values())
        found = match(name, paths, f"{format}:videos")
        assert len(found.asked) == len(facts)
        shown = [tuple(sorted({form.format(action[0]) for action in fact["actions"]})) for fact in facts.values()]
        assert [row.labels for row in rows_of(found)] == shown
    assert () in [
        tuple(fact["actions"])
        for fact in json.loads((SAMPLES / "charades/super_events_charades.first50.json").read_text()).values()
    ]


def test_charades_official_and_empty_segments(tmp_path):
    (tmp_path / "c.csv").write_text('id,actions,length\nA,"c092 11.90 21.20;c001 3 2;c002 5 5",20\nB,,4\n')
    listed = read_list(tmp_path / "c.csv")
    assert listed.format == "charades"
    found = listed.match(["A.mp4", "B.mp4"])
    assert found.asked == {0: [Asked(None, 11.9, 21.2, ("c092",))]}  # past the end: the index judges
    assert [why.rsplit(": ", 2)[-1] for why in found.rejected] == ["it ends before it begins", "empty"]
    assert found.notes[-1].startswith("2 rows ask for nothing and are left out, such as ")
    found = read_list(tmp_path / "c.csv", "charades:videos").match(["A.mp4", "B.mp4"])
    assert [row.labels for row in rows_of(found)] == [("c001", "c002", "c092"), ()]


@needs_samples
def test_ava_clips_have_the_actions_of_all_persons(tmp_path):
    box = "0.1,0.1,0.5,0.9"
    rows = [f"-5KQ66BBWC4,0902,{box},{action},{person}" for action, person in ((12, 0), (17, 0), (12, 1))]
    rows += [f"-5KQ66BBWC4,0903,{box},9,0", f"-5KQ66BBWC4,0904,{box},,"]
    (tmp_path / "ava_val_v2.2.csv").write_text("\n".join(rows))
    names = {"names": str(SAMPLES / "ava/ava_action_list_v2.1_for_activitynet_2018.head60.pbtxt")}
    listed = read_list(tmp_path / "ava_val_v2.2.csv", "ava", names)
    found = rows_of(listed.match(["-5KQ66BBWC4.mkv"]))
    assert [(row.start, row.stop, row.labels) for row in found] == [
        (900.5, 903.5, ("carry/hold (an object)", "stand")),
        (901.5, 904.5, ("martial art",)),
        (902.5, 905.5, ()),
    ]
    (tmp_path / "ava_val_excluded_timestamps_v2.2.csv").write_text("-5KQ66BBWC4,0903\n")
    found = read_list(tmp_path / "ava_val_v2.2.csv", "ava:1").match(["-5KQ66BBWC4.mkv"])
    assert [(row.start, row.stop, row.labels) for row in rows_of(found)] == [
        (901.5, 902.5, ("12", "17")),
        (903.5, 904.5, ()),
    ]
    assert any("1 rows are of seconds that the list of excluded ones names" in note for note in found.notes)


def test_activitynet(tmp_path):
    actions = [{"segment": [1.5, 4], "label": "Surfing"}, {"segment": [3, 9.25], "label": "Diving"}]
    database = {
        "-x_1": {"duration": 9, "subset": "training", "annotations": actions},
        "t": {"duration": 5, "subset": "testing", "annotations": []},
    }
    (tmp_path / "a.json").write_text(json.dumps({"version": "1.3", "database": database}))
    found = read_list(tmp_path / "a.json", "activitynet").match(["v_-x_1.mp4", "t.mkv"])
    assert found.asked == {0: [Asked(None, 1.5, 4.0, ("Surfing",)), Asked(None, 3.0, 9.25, ("Diving",))], 1: [Asked()]}
    found = read_list(tmp_path / "a.json", "activitynet:videos").match(["-x_1.mp4"])
    assert rows_of(found) == [Asked(labels=("Diving", "Surfing"))]


def clock(text):
    hours, minutes, rest = text.split(":")
    return float(f"{(int(hours) * 60 + int(minutes)) * 60 + int(rest.split('.')[0])}.{rest.split('.')[1]}")


@needs_samples
def test_epic_kitchens_by_verb_noun_and_action():
    name = "epic_kitchens_100/EPIC_100_validation.head50.csv"
    listed = [dict(zip(table(name)[0], row, strict=True)) for row in table(name)[1:]]
    for option, columns in (("", ["verb_class"]), (":noun", ["noun_class"]), (":action", ["verb_class", "noun_class"])):
        found = match(name, ["P01/videos/P01_11.MP4"], f"epic_kitchens{option}")
        got = {(row.name, row.start, row.stop, row.labels) for row in rows_of(found)}
        assert got == {
            (
                row["narration_id"],
                clock(row["start_timestamp"]),
                clock(row["stop_timestamp"]),
                (" ".join(row[column] for column in columns),),
            )
            for row in listed
        }
    verbs = SAMPLES / "epic_kitchens_100/EPIC_100_verb_classes.head20.csv"
    assert read_names(verbs)["1"] == "put"  # what was said: put-down
    kept = {"names": [str(verbs)]}
    known = read_names(verbs)
    rare = next((row["verb_class"] for row in listed if row["verb_class"] not in known), None)
    if rare is None:
        assert ("put",) in [row.labels for row in rows_of(match(name, ["P01_11.MP4"], "epic_kitchens", kept))]
    else:
        with pytest.raises(ValueError, match=f"class '{rare}' is not in the names file"):
            match(name, ["P01_11.MP4"], "epic_kitchens", kept)
    test = "epic_kitchens_100/EPIC_100_test_timestamps.head20.csv"
    found = match(test, ["P01_101.MP4"])
    assert [row.labels for row in rows_of(found)] == [None] * 19
    with pytest.raises(ValueError, match=r"columns \['path', 'label'\] are missing"):
        list(read_list(SAMPLES / "epic_kitchens_100/EPIC_100_video_info.head50.csv"))


@needs_samples
def test_epic_sounds():
    name = "epic_sounds/EPIC_Sounds_validation.head50.csv"
    listed = [dict(zip(table(name)[0], row, strict=True)) for row in table(name)[1:]]
    found = match(name, ["P01_11.MP4"])
    assert len(rows_of(found)) == len(listed) == 49
    assert {row.labels for row in rows_of(found)} == {(row["class"],) for row in listed}
    assert min(row.start for row in rows_of(found)) == 2.069
    assert all(
        abs(row.start * 24000 - int(listed_row["start_sample"])) < 24
        for row, listed_row in zip(
            sorted(rows_of(found), key=lambda row: int(row.name.rsplit("_")[-1])), listed, strict=True
        )
    )


@needs_samples
def test_ego4d_has_two_clocks(tmp_path):
    beginning = (SAMPLES / "ego4d/moments_label_ids.head30.json").read_text()
    (tmp_path / "ids.json").write_text(beginning.rstrip().rstrip(",") + "}")
    ids = read_names(tmp_path / "ids.json")
    assert len(ids) == len(beginning.splitlines()) - 1
    assert ids["2"] == "use_phone"
    label = {"start_time": 2.0, "end_time": 5.5, "label": "use_phone", "primary": True}
    label |= {"video_start_time": 302.0, "video_end_time": 305.5}
    clip = {"clip_uid": "c", "video_start_sec": 300.0, "video_end_sec": 780.0}
    clip["annotations"] = [{"labels": [label, {**label, "primary": False, "end_time": 6}]}]
    empty = {"clip_uid": "e", "video_start_sec": 10, "video_end_sec": 20}
    (tmp_path / "m.json").write_text(json.dumps({"videos": [{"video_uid": "v", "clips": [clip, empty]}]}))
    listed = read_list(tmp_path / "m.json", "ego4d")
    assert rows_of(listed.match(["c.mp4"])) == [Asked(None, 2.0, 5.5, ("use_phone",), "v")]
    found = listed.match(["full/v.mp4"])
    assert [(row.start, row.stop) for row in rows_of(found)] == [(10.0, 20.0), (302.0, 305.5)]
    assert "1 labels are not primary" in found.notes[0]


def test_something_something_and_diving(tmp_path):
    rows = [
        {"id": "74225", "label": "spinning cube", "template": "Spinning [something] that stops", "placeholders": ["x"]}
    ]
    (tmp_path / "train.json").write_text(json.dumps(rows))
    found = read_list(tmp_path / "train.json", "ssv2").match(["20bn/74225.webm"])
    assert rows_of(found) == [Asked("74225", labels=("Spinning something that stops",))]
    (tmp_path / "test.json").write_text('[{"id": "9"}]')
    (tmp_path / "answers.csv").write_text("9;Lifting up completely, then letting it drop\n")
    assert rows_of(read_list(tmp_path / "test.json", "ssv2").match(["9.webm"])) == [Asked("9")]
    (row,) = rows_of(read_list(tmp_path / "answers.csv", "ssv2").match(["9.webm"]))
    assert row.labels == ("Lifting up completely, then letting it drop",)
    (tmp_path / "dive.json").write_text('[{"vid_name": "-l1_00025", "label": 1, "start_frame": 0, "end_frame": 9}]')
    (tmp_path / "vocab.json").write_text('[["Back", "15som"], ["Back", "25som", "05Twis"]]')
    columns = {"names": str(tmp_path / "vocab.json")}
    found = read_list(tmp_path / "dive.json", "diving48", columns).match(["-l1_00025.mp4"])
    assert rows_of(found) == [Asked(labels=("Back 25som 05Twis",))]


@needs_samples
def test_moments_rows_of_many_lengths(tmp_path):
    names = SAMPLES / "moments_in_time/category_momentsv2.head30.txt"
    assert list(read_names(names).values()) == names.read_text().split()
    (tmp_path / "multi.csv").write_text("a.mp4,0,2\nb.mp4,1\nc.mp4,0,1,2\n")
    found = read_list(tmp_path / "multi.csv", "moments", {"names": str(names)}).match(["a.mp4", "b.mp4", "c.mp4"])
    shown = [("burying", "clapping"), ("dropping",), ("burying", "clapping", "dropping")]
    assert [row.labels for row in rows_of(found)] == shown
    (tmp_path / "one.csv").write_text("clapping/x.mp4,clapping,3,1\n")
    assert rows_of(read_list(tmp_path / "one.csv", "moments").match(["clapping/x.mp4"])) == [
        Asked(labels=("clapping",))
    ]


def test_lrs_groups_by_the_video_referred_to(tmp_path):
    (tmp_path / "main/553").mkdir(parents=True)
    (tmp_path / "main/553/00001.txt").write_text("Text:  HELLO\nConf:  5\nRef:   0Fi83BHQsMA\n\nFRAME X Y W H\n")
    (tmp_path / "test.txt").write_text("553/00001 NV\n553/00002\n554/00001\n")
    found = read_list(tmp_path / "test.txt", "lrs").match(["main/553/00001.mp4", "main/553/00002.mp4"], tmp_path)
    assert [row.group for row in rows_of(found)] == ["0Fi83BHQsMA", "553"]
    assert found.missing == ["554/00001"]


@needs_samples
def test_voxceleb_speakers_by_table_and_by_clip(tmp_path):
    name = "voxceleb/vox1_meta.head50.names_removed.csv"
    speakers = [row[0] for row in table(name, delimiter="\t")[1:]]
    paths = [f"wav/{speaker}/vid{i}/00001.mp4" for speaker in speakers for i in range(2)]
    found = match(name, paths, "voxceleb")
    assert found.num_rows == 49
    assert [row.labels for row in rows_of(found)] == [(path.split("/")[1],) for path in paths]
    assert [row.group for row in rows_of(found)] == ["vid0", "vid1"] * 49
    (tmp_path / "veri.txt").write_text(
        "1 id10270/a/00001.wav id10270/b/00001.wav\n0 id10270/a/00001.wav id10300/c/00002.wav\n"
    )
    clips = ["id10270/a/00001.m4a", "id10270/b/00001.m4a", "id10300/c/00002.m4a", "id10300/d/00002.m4a"]
    found = read_list(tmp_path / "veri.txt", "voxceleb").match(clips)
    assert [row.labels for row in rows_of(found)] == [("id10270",), ("id10270",), ("id10300",)]


@needs_samples
def test_hugging_face_folder(tmp_path):
    found = match("hf_videofolder/metadata.jsonl", ["train/0001.mp4", "train/0002.mp4"])
    assert [row.labels for row in rows_of(found)] == [("made up",), ("made up 2",)]
    for side in ("train", "val"):
        (tmp_path / side).mkdir()
        rows = {"file_name": ["1.mp4"], "label": [side], "video": [b"bytes"]}
        pq.write_table(pa.table(rows), tmp_path / side / "metadata.parquet")
    asked = annotate(tmp_path, ["train/1.mp4", "val/1.mp4"], format="hf_videofolder").asked
    assert [[row.labels for row in rows] for rows in asked] == [[("train",)], [("val",)]]
    (tmp_path / "metadata.csv").write_text("file_name\nhttps://example.invalid/1.mp4\n../1.mp4\n")
    found = read_list(tmp_path / "metadata.csv", "hf_videofolder").match(["1.mp4"], tmp_path)
    assert found.missing == ["https://example.invalid/1.mp4", "../1.mp4"]


def test_video2dataset_tells_what_failed(tmp_path):
    rows = {"key": ["000000000", "000000001", "000000002"], "status": ["success", "failed_to_download", "success"]}
    pq.write_table(pa.table({**rows, "caption": ["a", "b", "c"]}), tmp_path / "00000.parquet")
    paths = ["00000.tar/000000000_00000.mp4", "00000.tar/000000000_00001.mp4", "00000.tar/000000002.mp4"]
    found = annotate(tmp_path, paths, format="video2dataset")
    assert [[row.group for row in rows] for rows in found.asked] == [["000000000"], ["000000000"], ["000000002"]]
    assert "1 videos were not downloaded (1 failed_to_download)" in found.notes[0]


@needs_samples
def test_webdataset_keys_end_at_the_first_dot(tmp_path):
    members = [line.split()[0] for line in (SAMPLES / "webdataset/member_names.txt").read_text().splitlines()]
    assert key_of("clip.v2.mp4") == ("clip", "v2.mp4")
    (tmp_path / "members.txt").write_text("\n".join(members))
    paths = [f"0.tar/{name}" for name in members if name.endswith(".mp4")]
    found = read_list(tmp_path / "members.txt", "webdataset").match(paths)
    assert [row.name for row in rows_of(found)] == ["000000012", "000000013", "clip"]


@needs_samples
def test_lerobot_episodes_on_their_frames(tmp_path):
    video = "videos/observation.images.top/chunk-000/file-000.mp4"
    (row,) = rows_of(match("lerobot_v3/episodes_row.json", [video], "lerobot_v3"))
    assert row == Asked(
        "episode_000001/observation.images.top",
        304 / 30,
        603 / 30,
        ("made up",),
        "episode_000001",
        "observation.images.top",
    )
    folder = tmp_path / "meta/episodes/chunk-000"
    folder.mkdir(parents=True)
    (tmp_path / "meta/info.json").write_text('{"fps": 50}')
    at, episodes = {"top": 0.0, "wrist": 0.0}, []
    for number in range(200):  # running float sums; the cameras' files begin at other episodes
        if number == 120:
            at["wrist"] = 0.0
        episode = {"episode_index": number, "length": 7 + number % 5, "tasks": ["fold"]}
        for key in at:
            stop = at[key] + episode["length"] / 50
            episode |= {
                f"videos/{key}/chunk_index": 0,
                f"videos/{key}/file_index": int(key == "wrist" and number >= 120),
            }
            episode |= {f"videos/{key}/from_timestamp": at[key], f"videos/{key}/to_timestamp": stop}
            at[key] = stop
        episodes.append(episode)
    pq.write_table(pa.Table.from_pylist(episodes), folder / "file-000.parquet")
    paths = [f"videos/{key}/chunk-000/file-{n:03d}.mp4" for key, n in (("top", 0), ("wrist", 0), ("wrist", 1))]
    found = annotate(tmp_path, paths, format="lerobot_v3")
    assert [len(rows) for rows in found.asked] == [200, 120, 80]
    for rows in found.asked:
        assert rows[0].start == 0
        assert all(a.stop == b.start for a, b in pairwise(rows))
        assert all(row.start == round(row.start * 50) / 50 for row in rows)
    assert found.asked[2][0].group == found.asked[0][120].group == "episode_000120"
    assert not any("begin where" in note for note in found.notes)
    episodes[50]["videos/top/from_timestamp"] += 0.04
    pq.write_table(pa.Table.from_pylist(episodes), folder / "file-000.parquet")
    assert any(
        "2 episodes don't begin where the one before ends" in note
        for note in annotate(tmp_path, paths, format="lerobot_v3").notes
    )


def test_formats_and_options_are_checked(tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n")
    with pytest.raises(ValueError, match=r"there is no such format; there are activitynet, audioset, ava"):
        read_list(tmp_path / "x.csv", "kinetic")
    with pytest.raises(ValueError, match=r"epic_kitchens:verbs: expected .* one of \['verb', 'noun', 'action'\]"):
        read_list(tmp_path / "x.csv", "epic_kitchens:verbs")
    with pytest.raises(ValueError, match="ava:x"):
        read_list(tmp_path / "x.csv", "ava:x")
    with pytest.raises(ValueError, match="its columns are fixed; leave out path"):
        read_list(tmp_path / "x.csv", "kinetics", {"path": "a"})
    (tmp_path / "x.csv").write_text("a,b\nc,d\n")
    for name in FORMATS.keys() - {"webdataset"}:  # any line may be a key
        with pytest.raises(ValueError, match=r"x\.csv"):
            list(read_list(tmp_path / "x.csv", name))
