"""Whatever form a dataset has, it holds the clips, their sound, and all that is known of their sources."""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
import wave
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from av.video.frame import VideoFrame
from folders import contents, rows

from avssl.avsync.builder import build
from avssl.avsync.excerpts import hashes_of, shared
from avssl.avsync.metadata import read_metadata
from avssl.avsync.options import Accept, Cut, Normal, Options, Pack, Shots, Split
from avssl.avsync.sources import scan
from avssl.catalog.encode import Movie, pieces, write_movie
from avssl.synthetic.clapper import write_clapper

CUT, SHOTS, SPLIT, SMALL = Cut(seconds=1.0), Shots(threshold=0), Split(0.3, 0.3), Normal(short_side=48)
HEADING = "path,speaker,licence,label,transcript\n"


def options(pack: Pack | None = None, **more: object) -> Options:
    return Options(cut=CUT, shots=SHOTS, split=SPLIT, normal=SMALL, pack=pack or Pack(), **more)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight recordings of three speakers, of whom a table tells; of the last one it doesn't."""
    root = tmp_path_factory.mktemp("told") / "in"
    lines = []
    for seed in range(8):
        write_clapper(root / f"{seed}.mp4", frames=30, seed=seed)
        lines.append(f'{seed}.mp4,voice {seed % 3},CC BY 4.0,clap,"said ""{seed}"", ünï"\n')
    (root.parent / "about.csv").write_text(HEADING + "".join(lines[:7]) + "gone.mp4,voice 9,,,\n", encoding="utf-8")
    return root


def test_metadata_are_carried_through_and_a_speaker_is_not_divided(told: Path, tmp_path: Path, machine, capsys):
    out, about = tmp_path / "out", told.parent / "about.csv"
    build([told], out, options(Pack("webdataset")), machine, metadata=about)
    assert "gone.mp4" in capsys.readouterr().err
    clips = {row["source"]: row for row in rows(out / "clips.parquet")}
    sources = {row["source"]: row for row in rows(out / "sources.parquet")}
    for seed in range(7):
        for row in (clips[f"in/{seed}.mp4"], sources[f"in/{seed}.mp4"]):
            assert row["speaker"] == f"voice {seed % 3}"
            assert (row["licence"], row["source_label"], row["transcript"]) == (
                "CC BY 4.0",
                "clap",
                f'said "{seed}", ünï',
            )
        assert sources[f"in/{seed}.mp4"]["group"] == f"voice {seed % 3}"
    assert clips["in/7.mp4"]["licence"] is None
    splits = {(row["group"], row["split"]) for row in sources.values()}
    assert len(splits) == 4  # three speakers, and the recording of nobody
    notes = {}
    for shard in (out / "shards").glob("*.tar"):
        with tarfile.open(shard) as tar:
            for member in tar:
                if member.name.endswith(".json"):
                    note = json.load(tar.extractfile(member))
                    notes[note["source"]] = note
    assert notes["in/3.mp4"]["transcript"] == 'said "3", ünï'
    assert notes["in/7.mp4"]["licence"] is None


@pytest.mark.parametrize(
    ("text", "error"),
    [("name\na\n", "no 'path'"), (HEADING + "a,,,,\na,,,,\n", "named twice"), (HEADING + ",x,,,\n", "row 1")],
)
def test_a_wrong_table_is_named(tmp_path: Path, text: str, error: str):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ValueError, match=error):
        read_metadata(tmp_path / "t.csv")
    with pytest.raises(FileNotFoundError, match="no such table"):
        read_metadata(tmp_path / "none.csv")
    (tmp_path / "t.parquet").write_text(text)
    with pytest.raises(ValueError, match="parquet"):
        read_metadata(tmp_path / "t.parquet")


def test_tables_of_all_kinds_say_the_same(told: Path, tmp_path: Path):
    rows_ = [{"path": "0.mp4", "speaker": "me", "year": 1999}, {"path": os.fspath(told / "1.mp4"), "speaker": None}]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows_))
    (tmp_path / "t.tsv").write_text("path\tspeaker\tyear\n0.mp4\tme\t1999\n" + os.fspath(told / "1.mp4") + "\t\t\n")
    found = [scan([told], metadata=tmp_path / name) for name in ("t.jsonl", "t.tsv")]
    assert found[0] == found[1]
    assert found[0][0].about == (("speaker", "me"), ("year", "1999"))
    assert scan([told], group=r"\d", metadata=tmp_path / "t.tsv")[0].group == "0"  # one that was asked for counts


def test_hugging_face_opens_the_folder(told: Path, tmp_path: Path, machine, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    out = tmp_path / "out"
    build([told], out, options(Pack("huggingface")), machine, metadata=told.parent / "about.csv")
    loaded = datasets.load_dataset(os.fspath(out / "huggingface"), cache_dir=os.fspath(tmp_path / "cache"))
    clips = {Path(row["clip"]).name: row for row in rows(out / "clips.parquet")}
    seen = {}
    for split, part in loaded.items():
        part = part.cast_column("video", datasets.Video(decode=False))
        for row in part:
            name = Path(row["video"]["path"]).name
            assert clips[name]["split"] == split
            assert row["transcript"] == clips[name]["transcript"]
            assert (row["source"], row["fps"]) == (clips[name]["source"], 25.0)
            seen[name] = split
    assert set(seen) == set(clips)


def test_a_database_holds_what_a_shard_would(told: Path, tmp_path: Path, machine):
    lmdb = pytest.importorskip("lmdb")
    out = tmp_path / "out"
    about = {"metadata": told.parent / "about.csv"}
    build([told], out, options(Pack("lmdb", sound="wav")), machine, **about)
    entries = {}
    for split in ("train", "validation", "test"):
        path = os.fspath(out / "lmdb" / f"{split}.lmdb")
        with lmdb.open(path, subdir=False, lock=False, readonly=True) as database, database.begin() as reading:
            own = {bytes(key).decode(): bytes(value) for key, value in reading.cursor()}
        keys = json.loads(own.pop("__keys__"))
        assert keys == sorted({name.split(".")[0] for name in own})
        entries |= own
    kept = {Path(row["clip"]).stem: row for row in rows(out / "clips.parquet")}
    assert set(entries) == {f"{key}.{kind}" for key in kept for kind in ("mp4", "wav", "json")}
    for key, row in kept.items():
        assert entries[f"{key}.mp4"] == (out / row["clip"]).read_bytes()
        note = json.loads(entries[f"{key}.json"])
        assert (note["key"], note["split"], note["transcript"]) == (key, row["split"], row["transcript"])
        with wave.open(io.BytesIO(entries[f"{key}.wav"])) as file:
            assert (file.getframerate(), file.getnframes()) == (16000, 16000)
    first = contents(out)
    times = {path: path.stat().st_mtime_ns for path in (out / "lmdb").iterdir()}
    build([told], out, options(Pack("lmdb", sound="wav")), machine, **about)
    assert {path: path.stat().st_mtime_ns for path in (out / "lmdb").iterdir()} == times  # kept, not written again
    build([told], tmp_path / "again" / "out", options(Pack("lmdb", sound="wav")), machine, **about)
    assert contents(tmp_path / "again" / "out") == first


def test_small_and_coarse_sources_are_left_out(told: Path, tmp_path: Path, machine):
    def outcomes(**accept: float) -> dict[str, int]:
        return build([told], tmp_path / "out", options(accept=Accept(**accept)), machine).outcomes

    assert outcomes() == {"kept": 8}
    table = rows(tmp_path / "out" / "sources.parquet")
    rates = sorted(row["bitrate"] for row in table)
    size = (told / "0.mp4").stat().st_size
    mine = next(row for row in table if row["source"] == "in/0.mp4")
    assert mine["bitrate"] == pytest.approx(size * 8e-3 / mine["duration"])
    assert outcomes(bitrate=(rates[2] + rates[3]) / 2) == {"kept": 5, "low_bitrate": 3}
    assert outcomes(smallest=min(table[0]["height"], table[0]["width"]) + 1) == {"too_small": 8}
    assert "--accept.smallest" in (tmp_path / "out" / "card.html").read_text()


def test_excerpts_are_found_wherever_they_begin():
    """Of four sounds, the third holds a part of the first, in noise; the fourth the same sound under other pictures."""
    rng = np.random.default_rng(0)

    def noise(seconds: float) -> np.ndarray:
        loud = np.repeat(rng.uniform(0.1, 1, round(seconds * 10)), 1600)
        return loud * np.convolve(rng.normal(size=len(loud)), np.ones(3) / 3, "same")

    first, other = noise(20), noise(12)
    part = np.concatenate([first[97_300:193_300], noise(2)])
    sounds = [first, other, part + 0.05 * noise(8), part]
    hashes = [hashes_of(0.1 * sound.astype(np.float32), 16000) for sound in sounds]
    pictures = [rng.integers(0, 256, (round(2 * len(sound) / 16000), 64)).astype(np.uint8) for sound in sounds]
    pictures[2][:12] = pictures[0][12:24]
    (found,) = shared(hashes, pictures)
    assert (found.first, found.second) == (0, 2)
    assert found.offset == pytest.approx(-97_300 / 16000, abs=0.05)
    assert found.seconds == pytest.approx(7.65, abs=0.1)  # as far as the third lasts
    assert shared(hashes[:2], pictures[:2]) == []
    assert (hashes_of(np.zeros(16000, np.float32), 16000) == 0).all()


def scene(path: Path, pictures: np.ndarray, sound: np.ndarray, size: tuple[int, int], crf: int) -> None:
    """Write ``[T, 8, 8]`` grey pictures, enlarged, and sound."""
    frames = []
    for number, picture in enumerate(pictures):
        large = cv2.resize(picture, size[::-1], interpolation=cv2.INTER_CUBIC)
        frame = VideoFrame.from_ndarray(np.repeat(large[..., None], 3, 2), format="rgb24").reformat(format="yuv420p")
        frame.pts, frame.time_base = number, Fraction(1, 25)
        frames.append(frame)
    path.parent.mkdir(exist_ok=True)
    samples = pieces(torch.from_numpy(sound).float(), 16000)
    write_movie(path, iter(frames), samples, Movie(Fraction(25), size, 12, 16000), {"crf": str(crf)})


def test_a_cut_and_encoded_part_of_a_source_is_left_out(tmp_path: Path, machine):
    rng = np.random.default_rng(0)
    drift = np.cumsum(rng.normal(0, 3, (500, 8, 8)), axis=0)
    pictures = (128 + 60 * np.sin(drift[:250] / 20 + rng.uniform(0, 6, (8, 8)))).astype(np.uint8)
    other = (128 + 60 * np.sin(drift[250:] / 20)).astype(np.uint8)
    sound = np.repeat(rng.uniform(0.02, 0.3, 100), 1600) * rng.normal(size=160000)
    scene(tmp_path / "in" / "a.mp4", pictures, sound, (96, 128), 16)
    scene(tmp_path / "in" / "part.mp4", pictures[53:203], sound[53 * 640 : 203 * 640] * 0.7, (64, 64), 30)
    scene(tmp_path / "in" / "under_others.mp4", other[:150], sound[53 * 640 : 203 * 640], (64, 64), 30)
    assert build([tmp_path / "in"], tmp_path / "out", options(), machine).outcomes == {"kept": 3}
    left = build([tmp_path / "in"], tmp_path / "out", options(accept=Accept(excerpts=False)), machine)
    assert left.outcomes == {"kept": 2, "duplicate": 1}
    (why,) = (row["why"] for row in rows(tmp_path / "out" / "sources.parquet") if row["reason"])
    assert re.match(r"5\.[67] of its 6\.0 s are in in/a\.mp4, from 2\.1 s on", why)
