"""Collections of made-up media under the names that published lists give, from the folder to the manifest."""

from __future__ import annotations

import json
import math
import os
import tarfile
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from films import film, grey

import avssl.media
from avssl.catalog.finding import find_recordings
from avssl.catalog.formats import FORMATS
from avssl.catalog.index import build_index, open_manifest
from avssl.catalog.listing import read_list
from avssl.catalog.summary import summarise
from avssl.cli.index import run as index
from avssl.media import MediaError
from avssl.media.source import SourceError
from avssl.media.window import open_range, reading

SAMPLES = Path(os.environ.get("AVSSL_TEST_DATA", Path(__file__).parents[3] / "shared" / "data")) / "annotations"
SECONDS, FPS = 20, 4  # dates of frames without rounding
CHOSEN = 3  # files of each list that are made

MADE = {  # lists of which no published one is at hand
    "activitynet": {"database": {"a": {"subset": "training", "annotations": [{"segment": [1.5, 4], "label": "Dive"}]}}},
    "ava": "-5KQ,0010,.1,.1,.5,.9,12,0\n-5KQ,0010,.1,.1,.5,.9,17,1\n-5KQ,0021,.1,.1,.5,.9,9,0\ng0,0005,.1,.1,.5,.9,,\n",
    "charades:official": "id,actions,length\nA1,c092 11.90 21.20;c147 0.00 12.60;c001 12 23,20\nB2,,20\n",
    "cmn": "air drumming/aXc9_000010_000020\nair drumming/b-_x_000003_000013\ncutting_watermelon/c_000001_000011\n",
    "diving48": [{"vid_name": "-l1_00025", "label": 1}, {"vid_name": "x_2", "label": 0}],
    "ego4d": {
        "videos": [
            {
                "video_uid": "v",
                "clips": [
                    {
                        "clip_uid": "c",
                        "video_start_sec": 300.0,
                        "video_end_sec": 780.0,
                        "annotations": [{"labels": [{"start_time": 2.0, "end_time": 5.5, "label": "use_phone"}]}],
                    }
                ],
            }
        ]
    },
    "esc50": "filename,fold,target,category,esc10,src_file,take\n1-100032-A-0.wav,1,0,dog,True,100032,A\n"
    "2-100038-A-14.wav,2,14,chirping_birds,False,100038,A\n2-100038-B-14.wav,2,14,chirping_birds,False,100038,B\n",
    "howto100m": {
        "vid": {"start": [0.55, 3.1], "end": [3.0, 25], "text": ["a", "b"]},
        "other": {"start": [], "end": []},
    },
    "jester": "100883;Drumming Fingers\n101032;Swiping Left\n42920\n",
    "lrs": "553/00001 NV\n554/00001\n",
    "moments": "clapping/x.mp4,clapping,3,1\ndropping/y.mp4,dropping,3,0\n",
    "multithumos": {"video_test_7": {"subset": "testing", "duration": 20, "actions": [[3, 1.0, 2.2], [4, 2.2, 30]]}},
    "ssv2": [{"id": "74225", "label": "spinning", "template": "Spinning [something]"}, {"id": "9"}],
    "video2dataset": "key,status\n0000,success\n0001,failed_to_download\n0002,success\n",
    "voxceleb": "1 id10270/a/00001.wav id10270/b/00001.wav\n0 id10270/a/00001.wav id10300/c/00002.wav\n",
}
LISTS = [
    ("kinetics", "kinetics/kinetics-400_val.head50.csv"),
    ("kinetics", "kinetics/kinetics-600_val.repeated_ids.csv"),
    ("kinetics", "kinetics/kinetics-400_test.head50.csv"),
    ("vggsound", "vggsound/test.head50.csv"),
    ("vggsound", "vggsound/test.same_source_rows.csv"),
    ("audioset", "audioset/original_eval_segments.head50.csv"),
    ("audioset:clips", "audioset/balanced_train_segments.head50.csv"),
    ("avspeech", "avspeech/avspeech_train.head50.csv"),
    ("charades", "charades/super_events_charades.first50.json"),
    ("charades:videos", "charades/super_events_charades.first50.json"),
    ("multithumos", "multithumos/super_events_multithumos.first5.json"),
    ("epic_kitchens", "epic_kitchens_100/EPIC_100_validation.head50.csv"),
    ("epic_kitchens", "epic_kitchens_100/EPIC_100_test_timestamps.head20.csv"),
    ("epic_sounds", "epic_sounds/EPIC_Sounds_validation.head50.csv"),
    ("howto100m", "howto100m/validation_youcook.head20.csv"),
    ("howto100m", "howto100m/milnce_hmdb51.head10.csv"),
    ("panda70m", "panda70m/made_up.csv"),
    ("ucf101", "ucf101/original_trainlist01.head50.txt"),
    ("hmdb51", "hmdb51/brush_hair_test_split1.txt"),
    ("voxceleb", "voxceleb/vox1_meta.head50.names_removed.csv"),
    ("hf_videofolder", "hf_videofolder/metadata.jsonl"),
    ("webdataset", "webdataset/member_names.txt"),
    *((name, None) for name in MADE),
]


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return film(tmp_path_factory.mktemp("film") / "film.mp4", SECONDS * FPS, Fraction(FPS))


def built(root, out, **options):
    """Index in this process: starting another takes longer than measuring."""
    with ThreadPoolExecutor(1) as executor:
        return build_index(root, out, motion=False, executor=executor, **options)


def list_of(format, sample, folder):
    if sample is not None:
        if not SAMPLES.is_dir():
            pytest.skip("AVSSL_TEST_DATA/annotations: no published lists")
        return SAMPLES / sample
    said = MADE[format]
    path = folder / ("list.json" if not isinstance(said, str) else "list.csv" if "," in said else "list.txt")
    path.write_text(said if isinstance(said, str) else json.dumps(said))
    return path


def file_of(entry, place):
    name = f"{place.name}/vid/00001.mp4" if entry.kind == "folder" else place.name
    return (
        name if Path(name).suffix in (".mp4", ".avi", ".webm") else str(Path(name).with_name(Path(name).name + ".mp4"))
    )


def frame_at(seconds):
    return min(SECONDS * FPS, max(0, math.floor(seconds * FPS + 0.5)))


def test_every_format_is_tried():
    tried = {name.partition(":")[0] for name, _ in LISTS} | {"lerobot_v3"}  # which has a test of its own
    assert tried == set(FORMATS)


@pytest.mark.parametrize(("format", "sample"), LISTS)
def test_a_list_and_its_files_become_a_manifest(format, sample, made, tmp_path):
    listing = list_of(format, sample, tmp_path)
    format = format.replace(":official", "")
    entries = [entry for _, entry in read_list(listing, format)]
    root, here = tmp_path / "videos", {}
    for number, entry in enumerate(entries):  # some called after the clip, others after the whole video
        place = entry.places[0 if number % 2 else -1]
        if len(set(here.values())) < CHOSEN and not {each.name for each in entry.places} & here.keys():
            here[place.name] = file_of(entry, place)
    for path in set(here.values()):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        os.link(made, root / path)

    wanted, missing = defaultdict(set), {}
    for entry in entries:
        place = next((place for place in entry.places if place.name in here), None)
        if place is None:
            missing[entry.places[0].name] = None
        elif place.start is None or place.start < place.stop:
            path = here[place.name]
            group = FORMATS[format.partition(":")[0]].group_of
            group = (group and group(root, path)) or entry.group or (path if place.start is not None else None)
            shown = wanted[path, place.start, place.stop]
            if entry.joined and shown:
                ((_, labels),) = shown
                shown.clear()
                shown.add((group, tuple(sorted({*labels, *entry.labels}))))
            else:
                shown.add((group, None if entry.labels is None else tuple(sorted(set(entry.labels)))))

    out = tmp_path / "out.parquet"
    videos = built(root, out, labels=listing, format=format)
    rows = videos.to_rows()
    found = defaultdict(set)
    for row in rows:
        start, stop = row["asked"] or (None, None)
        labels = None if row["labels"] is None else tuple(row["labels"])
        found[row["path"], start, stop].add((row["group"], labels))
        first, last = (0, SECONDS * FPS) if start is None else (frame_at(start), frame_at(stop))
        if start is not None and (stop > SECONDS + 2 or start < -2 or start >= SECONDS or first == last):
            assert row["status"] == "rejected"
            assert row["reason"].startswith("outside: its segment from")
        else:
            assert row["status"] == "ok"
            assert (row["start"] or 0.0, row["frames"]) == (pytest.approx(first / FPS), last - first)
    assert found == wanted
    listing = tmp_path / "out.parquet.missing.txt"
    assert (listing.read_text().splitlines() if missing else []) == list(missing)
    assert listing.exists() == bool(missing)
    names = [row["name"] for row in rows if row["name"] is not None]
    assert len(names) == len(set(names))
    assert set(names) <= {entry.name for entry in entries}
    outside = sum(row["status"] == "rejected" for row in rows)
    assert (f"rejected, outside: {outside}, such as" in summarise(videos)) == (outside > 0)


def test_what_was_cut_is_told_with_the_worst(made, tmp_path):
    (tmp_path / "root").mkdir()
    os.link(made, tmp_path / "root/a.mp4")
    spans = [(0, 4), (18, 20.05), (18, 21.5), (19, 21), (1, 40), (1, 900)]
    rows = [f"a.mp4,{start},{stop},x" for start, stop in spans]
    (tmp_path / "list.csv").write_text("\n".join(["path,start,stop,label", *rows]))
    told = summarise(built(tmp_path / "root", tmp_path / "out.parquet", labels=tmp_path / "list.csv"))
    assert "segments: 4 of 1 files; 2 cut where their file ends (or begins), at most by 1.50 s (a.mp4)" in told
    assert "rejected, outside: 2, such as a.mp4 (its segment from 1 to 900 s reaches out of the recording" in told


def lerobot(root, made, version="v3.0"):
    """Three episodes of two cameras; the first two share a file."""
    (root / "meta/episodes/chunk-000").mkdir(parents=True)
    (root / "meta/info.json").write_text(json.dumps({"codebase_version": version, "fps": FPS}))
    rows = []
    for episode, (file, first, length) in enumerate([(0, 0, 31), (0, 31, 40), (1, 0, 80)]):
        row = {"episode_index": episode, "tasks": [f"task {episode % 2}"], "length": length}
        for camera in ("cam.left", "cam.top"):
            row |= {
                f"videos/{camera}/chunk_index": 0,
                f"videos/{camera}/file_index": file,
                f"videos/{camera}/from_timestamp": first / FPS + 0.04 * bool(first),  # a sum that has drifted
                f"videos/{camera}/to_timestamp": (first + length) / FPS,
            }
            path = root / f"videos/{camera}/chunk-000/file-{file:03d}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                os.link(made, path)
        rows.append(row)
    pq.write_table(pa.Table.from_pylist(rows), root / "meta/episodes/chunk-000/file-000.parquet")
    return root


def test_a_lerobot_folder_is_a_collection(made, tmp_path, capsys):
    videos = built(lerobot(tmp_path / "set", made), tmp_path / "out.parquet")
    assert "a data set of the format lerobot_v3, whose own lists are used" in capsys.readouterr().err
    assert [(video.view, video.group, video.num_frames) for video in videos] == [
        (camera, f"episode_{episode:06d}", frames)
        for camera in ("cam.left", "cam.top")
        for episode, frames in enumerate((31, 40, 80))
    ]
    assert videos.classes == ["task 0", "task 1"]
    units = videos.units().to_pylist()
    assert units[0] == units[1] == units[3] == units[4] != units[2] == units[5]  # never split a file
    with avssl.media.open_video(videos[4].path, info=videos[4]) as opened:
        shown = opened.frames(torch.zeros(1, dtype=torch.float64))[0]
    assert shown.float().mean().item() == pytest.approx(grey(31), abs=3)
    again = lerobot(tmp_path / "old", made, "v2.1")
    assert built(again, tmp_path / "old.parquet").column("asked").null_count == 4


def test_metadata_beside_files_is_recognised(made, tmp_path, capsys):
    for side in ("train", "val"):
        (tmp_path / "set" / side).mkdir(parents=True)
        os.link(made, tmp_path / "set" / side / "1.mp4")
        (tmp_path / "set" / side / "metadata.csv").write_text(f"file_name,label\n1.mp4,of {side}\ngone.mp4,x\n")
    videos = built(tmp_path / "set", tmp_path / "out.parquet")
    assert videos.column("labels").to_pylist() == [["of train"], ["of val"]]
    assert "format hf_videofolder" in capsys.readouterr().err
    assert (tmp_path / "out.parquet.missing.txt").read_text() == "gone.mp4\n"
    for side in ("train", "val"):  # other tables of this name, and what is none
        text = "file,what\n1.mp4,x\n" if side == "train" else '"file_name\n1.mp4\n'
        (tmp_path / "set" / side / "metadata.csv").write_text(text)
    assert built(tmp_path / "set", tmp_path / "out.parquet").classes == []


def packed(path, values, compression, **labels):
    """Write recordings as ``datasets`` does; labels are numbers, whose names are in the schema."""
    path.parent.mkdir(parents=True, exist_ok=True)
    column = pa.array(values, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    names = {"info": {"features": {"label": {"names": ["dive", "run"], "_type": "ClassLabel"}}}}
    sound = pa.array([{"bytes": b"RIFF", "path": "a.wav"}] * len(values), column.type)
    table = pa.table({"audio": sound, "video": column, **labels}).replace_schema_metadata(
        {"huggingface": json.dumps(names)}
    )
    pq.write_table(table, path, compression=compression, row_group_size=2)


@pytest.mark.parametrize("compression", ["none", "snappy"])
def test_videos_within_parquet_files(compression, made, tmp_path, capsys):
    root, out = tmp_path / "set", tmp_path / "out.parquet"
    other = film(tmp_path / "other.mp4", 10, Fraction(FPS))
    films = [made.read_bytes(), other.read_bytes()]
    values = [
        {"bytes": films[0], "path": "../../a.mp4"},
        {"bytes": films[1], "path": None},
        {"bytes": films[1], "path": "x/a.mp4"},
        {"bytes": None, "path": "https://example.invalid/b.mp4"},
    ]
    packed(root / "data/train-00000.parquet", values, compression, label=[1, 0, -1, 1])
    packed(root / "data/test-00000.parquet", [], compression, label=pa.array([], pa.int64()))
    videos = built(root, out)
    place = root / "data/train-00000.parquet"
    assert videos.paths() == [place / "a.mp4", place / "000002.mp4", place / "000003_a.mp4"]
    assert [video.num_frames for video in videos] == [80, 10, 10]
    assert videos.column("labels").to_pylist() == [["run"], ["dive"], None]
    assert "passed over 1 rows without bytes (nothing is fetched)" in capsys.readouterr().err
    copies = [path for path in (tmp_path / "cache/avssl/unpacked").rglob("*") if path.is_file()]
    assert len(copies) == (0 if compression == "none" else 2)  # equal ones once
    for video, content in zip(videos, (films[0], films[1], films[1]), strict=True):
        with reading(video.source) as file:
            assert file.read() == content
        with avssl.media.open_video(video.path, info=video) as opened:
            shown = opened.frames(torch.ones(1, dtype=torch.float64))[0]
        assert shown.float().mean().item() == pytest.approx(grey(FPS), abs=3)
    with pytest.raises(SourceError, match="marks no copy of it"):
        open_range(replace(videos[0].source, etag="unpacked:../../secret"))
    for copy in copies:
        copy.unlink()
    if copies:
        with pytest.raises(SourceError, match=r"its copy .* is gone.*Index the collection again"):
            avssl.media.open_video(videos[0].path, info=videos[0])
        assert built(root, out).fingerprint == videos.fingerprint
        avssl.media.open_video(videos[0].path, info=videos[0]).close()
    else:
        os.utime(place, ns=(1, 1))
        with pytest.raises(SourceError, match="was written to since it was indexed"):
            avssl.media.open_video(videos[0].path, info=videos[0])


def test_parquet_files_that_hold_no_videos_are_no_collection(tmp_path):
    pq.write_table(pa.table({"path": ["a.mp4"], "label": ["x"]}), tmp_path / "list.parquet")
    with pytest.raises(MediaError, match="no video and no image"):
        find_recordings(tmp_path)
    with pytest.raises(MediaError, match=r"a file, not a folder.*avssl index FOLDER --labels list\.parquet"):
        find_recordings(tmp_path / "list.parquet")
    with pytest.raises(MediaError, match=r"not a manifest.*avssl index FOLDER -o OUT --labels"):
        open_manifest(tmp_path / "list.parquet")


def test_shards_of_video2dataset(made, tmp_path, capsys):
    root = tmp_path / "set"
    root.mkdir()
    for shard in range(2):
        keys = [f"{shard:05d}{number:04d}" for number in range(3)]
        with tarfile.open(root / f"{shard:05d}.tar", "w") as archive:
            for key in keys[:2]:
                for name, data in ((f"{key}.mp4", made.read_bytes()), (f"{key}.txt", b"a caption")):
                    member = tarfile.TarInfo(name)
                    member.size = len(data)
                    archive.addfile(member, BytesIO(data))
        status = ["success", "success", "failed_to_download"]
        pq.write_table(pa.table({"key": keys, "status": status, "caption": keys}), root / f"{shard:05d}.parquet")
    videos = built(root, tmp_path / "out.parquet")
    assert videos.column("group").to_pylist() == ["000000000", "000000001", "000010000", "000010001"]
    assert videos.column("labels").null_count == 4  # an archive is no class
    told = capsys.readouterr().err
    assert "format video2dataset" in told
    assert "1 videos were not downloaded (1 failed_to_download)" in told
    chosen = built(root, tmp_path / "b.parquet", format="video2dataset", columns={"label": "caption"})
    assert chosen.classes == ["000000000", "000000001", "000010000", "000010001"]


def test_shares_by_the_command(made, tmp_path, capsys, monkeypatch):
    @contextmanager
    def executor(address):
        assert address == "dask://here:1"
        with ThreadPoolExecutor(1) as pool:
            yield pool

    monkeypatch.setattr("avssl.cli.index.open_executor", executor)
    root, out = tmp_path / "root", tmp_path / "out.parquet"
    root.mkdir()
    for number in range(4):
        os.link(made, root / f"{number}.mp4")
    words = [str(root), "-o", str(out), "--no-motion", "--executor=dask://here:1", "--hash=quick"]
    for share in ("1/2", "2/2"):
        index([*words, f"--shard={share}"])
        assert f"share {share} is measured; all shares make {out} without --shard" in capsys.readouterr().out
        assert not out.exists()
    index(words)
    told = capsys.readouterr()
    assert "4 videos can be used, 0 can't" in told.out
    assert "files 4 unchanged, 0 changed, 0 new" in told.err
    assert all(mark.startswith("edge:") for mark in open_manifest(out).column("content").to_pylist())
    with pytest.raises(ValueError, match="shard=3/2: expected I/N"):
        index([*words, "--shard=3/2"])
