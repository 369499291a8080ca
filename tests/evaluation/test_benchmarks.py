"""Protocols of benchmarks on small replicas of their lists: folds, classes, chance; other lists are refused."""

import json
from dataclasses import replace

import numpy as np
import pytest

from avssl.catalog.listing import read_list
from avssl.catalog.manifest import Manifest
from avssl.cli.table import run as table
from avssl.evaluation.config import parse, parser
from avssl.evaluation.metrics import Prediction, Scoring, both_right, summarise
from avssl.evaluation.novel import NovelClasses
from avssl.evaluation.precision import chance_precision, summarise_several
from avssl.evaluation.protocol import DownstreamTask
from avssl.evaluation.report import published_under
from avssl.evaluation.results import Results
from avssl.evaluation.splits import check_folds
from avssl.runtime.configs import configs_folder, packaged


def ssv2(rows):
    return json.dumps(
        [{"id": name, "label": "x", "template": f"Moving [something] {way}", "placeholders": []} for name, way in rows]
    )


def diving(rows):
    return json.dumps([{"vid_name": name, "label": label, "start_frame": 0, "end_frame": 99} for name, label in rows])


EPIC = (
    "narration_id,participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,start_frame,stop_frame,"
    "narration,verb,verb_class,noun,noun_class,all_nouns,all_noun_classes\n"
)


def epic(rows):
    return EPIC + "".join(
        f"{video}_{number},{video[:3]},{video},00:00:01.0,00:00:{number:02d}.00,00:00:{number + 1:02d}.50,1,2,said,"
        f"v,{verb},n,{noun},\"['n']\",[{noun}]\n"
        for number, (video, verb, noun) in enumerate(rows)
    )


CHARADES = "id,subject,scene,quality,relevance,verified,script,objects,descriptions,actions,length\n"


def charades(rows):
    return CHARADES + "".join(
        f"{video},S,Kitchen,6,7,Yes,s,o,d,{actions},{length}\n" for video, actions, length in rows
    )


def audioset(rows):
    head = (
        "# Segments csv created Sun Mar  5 2017\n# num_ytids=2\n# YTID, start_seconds, end_seconds, positive_labels\n"
    )
    return head + "".join(f'{video}, {start}.000, {start + 10}.000, "{labels}"\n' for video, start, labels in rows)


# By protocol: files of the collection, lists of the two sides, format, words, and numbers of training and test rows.
CASES = {
    "ssv2": (
        [f"{number}.webm" for number in range(1, 6)],
        {
            "train.json": ssv2([("1", "up"), ("2", "down"), ("3", "up")]),
            "test.json": ssv2([("4", "up"), ("5", "down")]),
        },
        "ssv2",
        (3, 2),
    ),
    "diving48": (
        [f"vid_{number:05d}.mp4" for number in range(4)],
        {
            "train.json": diving([("vid_00000", 0), ("vid_00001", 47)]),
            "test.json": diving([("vid_00002", 47), ("vid_00003", 0)]),
        },
        "diving48",
        (2, 2),
    ),
    "jester": (
        [f"{number}.mp4" for number in (100883, 101032, 42920)],
        {"train.csv": "100883;Drumming Fingers\n101032;Swiping Left\n", "test.csv": "42920;Swiping Left\n"},
        "jester",
        (2, 1),
    ),
    "epic_verbs": (
        ["P01/P01_01.MP4", "P01/P01_11.MP4"],
        {
            "train.csv": epic([("P01_01", 0, 2), ("P01_01", 1, 3), ("P01_01", 0, 3)]),
            "test.csv": epic([("P01_11", 1, 2), ("P01_11", 0, 2)]),
        },
        "epic_kitchens:verb",
        (3, 2),
    ),
    "epic_nouns": (
        ["P01/P01_01.MP4", "P01/P01_11.MP4"],
        {
            "train.csv": epic([("P01_01", 0, 2), ("P01_01", 1, 3), ("P01_01", 0, 3)]),
            "test.csv": epic([("P01_11", 1, 2), ("P01_11", 0, 299)]),
        },
        "epic_kitchens:noun",
        (3, 2),
    ),
    "charades": (
        ["YSKX3.mp4", "AAAAA.mp4", "46GP8.mp4", "EMPTY.mp4"],
        {
            "train.csv": charades([("YSKX3", "c092 11.90 21.20;c147 0.00 12.60", 33.67), ("AAAAA", "c147 0 4", 20)]),
            "test.csv": charades([("46GP8", "c092 11.90 21.20;c147 0 1", 30.67), ("EMPTY", "", 12.0)]),
        },
        "charades:videos",
        (2, 2),
    ),
    "charades_frames": (
        ["YSKX3.mp4", "46GP8.mp4"],
        {
            "train.csv": charades([("YSKX3", "c092 11.90 21.20;c147 0.00 12.60", 33.0)]),
            "test.csv": charades([("46GP8", "c092 11.90 21.20;c147 0 1", 25.0)]),
        },
        "charades:frames",
        (25, 25),
    ),
    "audioset": (
        ["--4gqARaEJE.mp4", "00M9FhCet6s.mp4", "-0RWZT-miFs.mp4"],
        {
            "train.csv": audioset([("--4gqARaEJE", 0, "/m/09x0r,/m/05zppz"), ("00M9FhCet6s", 30, "/m/05zppz")]),
            "test.csv": audioset([("-0RWZT-miFs", 420, "/m/09x0r"), ("gone_gone_g", 0, "/m/09x0r")]),
        },
        "audioset",
        (2, 1),
    ),
    "vggsound": (
        ["---g-f_I2yQ_000001.mp4", "--0PQM4-hqg_000030.mp4", "-B_MPEuRBkg_000010.mp4"],
        {
            "list.csv": '---g-f_I2yQ,1,"people, talking",train\r\n--0PQM4-hqg,30,waterfall burbling,train\r\n'
            '-B_MPEuRBkg,10,"people, talking",test\r\n'
        },
        "vggsound",
        (2, 1),
    ),
    "kinetics": (
        [
            "train/aaaaaaaaaaa_000010_000020.mp4",
            "train/bbbbbbbbbbb_000000_000010.mp4",
            "val/ccccccccccc_000003_000013.mp4",
        ],
        {
            "train.csv": "label,youtube_id,time_start,time_end,split,is_cc\nyoga,aaaaaaaaaaa,10,20,train,0\n"
            "abseiling,bbbbbbbbbbb,0,10,train,0\n",
            "test.csv": "label,youtube_id,time_start,time_end,split,is_cc\nyoga,ccccccccccc,3,13,val,0\n",
        },
        "kinetics",
        (2, 1),
    ),
}
CLASSES = {"vggsound": 309, "audioset": 527, "kinetics": 400, "epic_nouns": None, "diving48": 48, "ssv2": 174}
CLASSES |= {"jester": 27, "epic_verbs": 97, "charades": 157, "charades_frames": 157}


def manifest_of(paths, files, format, out):
    """Index files that need not exist, as ``avssl index --labels`` does."""
    rows = []
    for place, asked in sorted(read_list(files, format).match(paths).asked.items()):
        for row in asked:
            common = {"root": "/videos", "path": paths[place], "status": "ok", "content": str(place), "duration": 10.0}
            seconds = {} if row.start is None else {"asked": [row.start, row.stop], "start": row.start}
            rows.append({**common, **seconds, "labels": row.labels, "name": row.name, "group": row.group})
    Manifest.from_rows(rows).write(out)
    return out


def protocol_on(name, tmp_path):
    """Write a replica's lists and manifest; return the packaged protocol with their paths."""
    paths, lists, format, _ = CASES[name]
    files = []
    for file, text in lists.items():
        files.append(tmp_path / file)
        files[-1].write_text(text, newline="")
    manifest = manifest_of(paths, files, format, tmp_path / "videos.parquet")
    sides = [f"--split.init_args.train={files[0]}", f"--split.init_args.test={files[-1]}"]
    return parse(parser(None), [name, "--run=r", f"--data.root={manifest}", *sides])[0]


def task_of(protocol, classes=None, **split):
    vars(protocol.split).update(split)
    return DownstreamTask(replace(protocol, data=replace(protocol.data, classes=classes)))


@pytest.mark.parametrize("name", CASES)
def test_a_protocol_takes_its_lists_and_refuses_others(name, tmp_path):
    protocol = protocol_on(name, tmp_path)
    assert protocol.views.fit == "crop"  # aspect kept, as in pretraining
    assert protocol.data.classes == CLASSES[name]
    train, test = CASES[name][3]
    if protocol.split.rows is not None:
        with pytest.raises(ValueError, match=rf"{train} rows for training, but this protocol's list has \d+\. It is"):
            task_of(protocol)
    assert (protocol.split.rows is None) == (name in ("audioset", "vggsound", "kinetics"))  # some are always missing
    if name == "audioset":
        with pytest.raises(
            ValueError, match=r"1 of 2 listed videos are not in the collection, first \['gone_gone_g'\]"
        ):
            task_of(protocol)
    if CLASSES[name] is not None:
        with pytest.raises(ValueError, match=rf"2 classes, such as .*, but {name} has {CLASSES[name]}\. Index the"):
            task_of(protocol, CLASSES[name])
    task = task_of(protocol, rows=(train, test + (name == "audioset")), allow_missing=0.5)
    (fold,) = task.folds.folds
    assert (len(fold.train), len(fold.test), fold.missing) == (train, test, int(name == "audioset"))
    assert task.several == (name in ("charades", "charades_frames", "audioset"))
    chance = task.chance()
    assert all(0 < level <= 1 for level in chance.values())
    assert task.facts.get("untrained") == (["299"] if name == "epic_nouns" else None)  # a noun that is only tested
    if name == "charades":  # a video without an action is not ranked
        assert chance == {"mAP": 1.0}
        assert task.settings["scoring"] == {"views": "max", "empty": "ignored"}
    else:
        assert "scoring" not in task.settings


def test_the_list_of_another_benchmark_is_refused(tmp_path):
    protocol = protocol_on("jester", tmp_path)
    (tmp_path / "train.csv").write_text("label,youtube_id\nx,y\n")
    with pytest.raises(ValueError, match=r"train\.csv, line 1: expected `id;class`"):
        task_of(protocol)
    protocol = protocol_on("vggsound", tmp_path)
    (tmp_path / "list.csv").write_text("---g-f_I2yQ_000001.mp4,people\n")
    with pytest.raises(ValueError, match="is given for both sides, but doesn't say which"):
        task_of(protocol)


def test_every_protocol_states_classes_views_metric_and_chance():
    for name, path in packaged("evaluation").items():
        header, named, _ = path.read_text().partition("\nname:")
        if name.startswith("paper/") or name == "folder" or not named:
            continue
        assert "hance" in header, f"{name}: the header doesn't give the chance level"
        assert f"avssl evaluate {name} " in header or name == "ut_interaction", name
    for name, path in packaged("audio").items():
        assert f"avssl audio {name} " in path.read_text()


def test_few_shot_lists_of_cmn(tmp_path):
    lists = {
        "train.list": "air drumming/hMUghDPCnb8_000025_000035\nair drumming/cpKzMgJjnYk_000002_000012\n",
        "test.list": "archery/UVYPzVgq7t8_000055_000065\narchery/gone_000016_000026\nyoga/lf1dP7_-S4Y_000001_000011\n",
    }
    for file, text in lists.items():
        (tmp_path / file).write_text(text)
    paths = ["air_drumming/hMUghDPCnb8_000025_000035.mp4", "air_drumming/cpKzMgJjnYk_000002_000012.mp4"]
    paths += ["archery/UVYPzVgq7t8_000055_000065.mp4", "yoga/lf1dP7_-S4Y_000001_000011.mp4"]
    files = [tmp_path / file for file in lists]
    videos = Manifest.open(manifest_of(paths, files, "cmn", tmp_path / "v.parquet"))
    assert videos.classes == ["air drumming", "archery", "yoga"]
    split = NovelClasses(files[1], files[0], allow_missing=0.4)
    folds = check_folds(split(videos), videos)
    assert (folds.folds[0].train, folds.folds[0].test, folds.folds[0].missing) == ((0, 1), (2, 3), 1)
    with pytest.raises(ValueError, match=r"1 of 3 listed videos are not in the collection .* first \['gone_"):
        NovelClasses(files[1], files[0])(videos)
    with pytest.raises(ValueError, match="class 'air drumming' is on both sides, with 2 and 2 videos, but novel"):
        check_folds(NovelClasses(files[0], files[0])(videos), videos)


def test_moments_of_charades_are_those_of_its_localisation(tmp_path):
    (tmp_path / "c.csv").write_text(charades([("YSKX3", "c001 0.00 2.00;c002 2.00 5.10", 50.0)]))
    entries = [entry for _, entry in read_list(tmp_path / "c.csv", "charades:frames")]
    assert [entry.labels for entry in entries[:5]] == [("c001",), ("c001", "c002"), ("c002",), (), ()]
    assert len(entries) == 25
    assert [entry.places[0][1:] for entry in (entries[0], entries[1], entries[-1])] == [
        (0, 1.5),
        (0.5, 3.5),
        (46.5, 49.5),
    ]


def charades_map(scores, present):
    """Mean average precision as ``Charades_v1_classify.m`` computes it; empty videos get the score minus infinity."""
    scores = np.where(present.any(1, keepdims=True), scores, -np.inf)
    found = []
    for column, marks in zip(scores.T, present.T, strict=True):
        right = marks[np.argsort(-column, kind="stable")]
        precision = np.cumsum(right) / np.arange(1, len(right) + 1)
        found.append(precision[right].mean())
    return np.mean(found)


def test_charades_own_average_precision_and_the_largest_score_of_any_view():
    rng = np.random.default_rng(0)
    present = rng.random((80, 6)) < 0.15
    assert (~present.any(1)).sum() > 10
    scores = (rng.random((80, 5, 6)) + 0.3 * present[:, None]).astype(np.float32)
    labels = np.where(present, 1, -1).astype(np.int8)
    run = [[Prediction("f", "", np.arange(80), labels, scores)]]
    groups, classes = [str(row) for row in range(80)], list("abcdef")
    found = summarise_several(run, groups, classes, scoring=Scoring("max", "ignored"))["mAP"]
    assert found.value == pytest.approx(charades_map(scores.max(1), present))
    usual = summarise_several(run, groups, classes)["mAP"]
    assert usual.value < found.value
    assert chance_precision(Scoring("max", "ignored").counted(labels)) > chance_precision(labels)


def test_a_single_sure_view_decides_where_the_largest_counts():
    scores = np.array([[[0.9, 0.1], [0.2, 0.8], [0.2, 0.8]]], dtype=np.float32)
    run = [[Prediction("f", "", np.arange(1), np.array([0]), scores)]]
    assert summarise(run, ["a"]).top1.value == 0
    assert summarise(run, ["a"], scoring=Scoring("max")).top1.value == 1


def judged(right, groups):
    """A summary of videos of class 0, of which some are right."""
    scores = np.where(np.array(right)[:, None], [[1.0, 0.0]], [[0.0, 1.0]])[:, None].astype(np.float32)
    return summarise([[Prediction("f", "", np.arange(len(right)), np.zeros(len(right), dtype=int), scores)]], groups)


def test_actions_are_right_where_verb_and_noun_are(tmp_path):
    groups = [str(row // 10) for row in range(40)]
    verbs, nouns = (np.arange(40) % 2 == 0), (np.arange(40) % 4 < 2)
    found = both_right(judged(verbs, groups), judged(nouns, groups))
    assert found.value == 0.25
    assert found.ci95_bootstrap[0] <= 0.25 <= found.ci95_bootstrap[1]
    with pytest.raises(ValueError, match="can't be compared"):
        both_right(judged(verbs, groups), judged(nouns[:20], groups))
    card = {"class": "avssl.encoders.R3D", "config": {"width": 8}, "method": "Tiny"}
    for name, right, folds in (("verbs", verbs, "a"), ("nouns", nouns, "a"), ("other", nouns, "b")):
        facts = {"name": name, "hash": name, "folds": folds, "videos": 40}
        outcomes = {"pretrained": {"linear": judged(right, groups)}}
        results = Results("run", card, facts, {}, {"top1": 0.3}, outcomes, {})
        (tmp_path / "eval" / name).mkdir(parents=True)
        (tmp_path / "eval" / name / "results.json").write_text(json.dumps(results.to_json()))
    words = [str(tmp_path), "--protocol=verbs"]
    table([*words, "--both=nouns", f"--output={tmp_path / 'both.csv'}"])
    lines = (tmp_path / "both.csv").read_text().splitlines()
    assert lines[0] == "verbs and nouns of,encoder,linear"
    assert lines[1].startswith('Tiny,R3D(width=8),"0.250 [')
    assert lines[2] == "chance,,0.090"
    with pytest.raises(ValueError, match="verbs and other don't test the same recordings"):
        table([*words, "--both=other"])


def test_published_numbers_are_those_of_the_protocol_where_there_are_some():
    file = configs_folder() / "eval/published.yaml"
    usual, ssv2 = published_under(file, "folder"), published_under(file, "ssv2")
    assert "protocols" not in usual
    assert ssv2["VJEPA"] != usual["VJEPA"]
    assert ssv2["ShuffleLearn"] == usual["ShuffleLearn"]
    for line in {*usual.values(), *ssv2.values()}:
        assert line.endswith("]"), f"{line}: without a source"
