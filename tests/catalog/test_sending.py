"""Copies that are sent to a bucket: what is read there is what lies in the local folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch
from films import film

from avssl.catalog import sending
from avssl.catalog.index import build_index, open_manifest
from avssl.catalog.manifest import Manifest
from avssl.cli import main
from avssl.media import open_video, stores

sys.path.insert(0, str(Path(__file__).parents[1] / "media"))
from servers import serving_s3


def pixels(videos: Manifest) -> list[torch.Tensor]:
    found = []
    for info in videos:
        with open_video(info.path, info=info) as reader:
            found.append(reader.frames(torch.arange(info.num_frames, dtype=torch.float64) / info.fps))
    return found


def test_copies_and_archives_in_a_bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    boto3 = pytest.importorskip("boto3")
    monkeypatch.setattr(stores, "_current", [])
    monkeypatch.delenv(stores.ENVIRONMENT, raising=False)
    for name in ("CONFIG", "CACHE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "key-of-nobody")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    film(tmp_path / "films" / "run" / "a.mp4", 12)
    film(tmp_path / "films" / "walk" / "b.mp4", 15)
    build_index(tmp_path / "films", tmp_path / "videos.parquet", workers=1, motion=False)
    with serving_s3() as server:
        client = boto3.client("s3", endpoint_url=server.url)
        client.create_bucket(Bucket="lab")
        lab = f"lab=s3://lab,endpoint={server.url},allow_http=true"
        work = tmp_path / "work"

        def prepare(*more: str) -> int:
            words = ["prepare", str(tmp_path / "videos.parquet"), "--short_side=48", "--workers=1", "--stores", lab]
            return main([*words, *more])

        put, calls = sending.put, []

        def stopping(*words: object) -> str:
            calls.append(words)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return put(*words)

        monkeypatch.setattr(sending, "put", stopping)
        assert prepare("-o", "s3://lab/copies", "--work", str(work)) == 130
        monkeypatch.setattr(sending, "put", put)
        server.asked.clear()
        prepare("-o", "s3://lab/copies", "--work", str(work))
        assert "0 copies made, 2 existed already" in capsys.readouterr().out
        assert [path for method, path, _ in server.asked if method == "PUT"] == [
            "/lab/copies/walk/b.mp4?",
            "/lab/copies/videos.parquet?",
        ]
        stored = open_manifest(work / "stored.parquet")
        assert stored.column("path").to_pylist() == ["copies/run/a.mp4", "copies/walk/b.mp4"]
        local = pixels(open_manifest(work))
        assert all(map(torch.equal, pixels(stored), local))
        server.asked.clear()
        prepare("-o", "lab:copies", "--work", str(work))
        assert not [method for method, *_ in server.asked if method != "GET"]

        prepare("-o", "s3://lab/packed", "--shard-size=1GB")
        keys = [each["Key"] for each in client.list_objects_v2(Bucket="lab", Prefix="packed")["Contents"]]
        assert keys == ["packed/shards/00000.tar", "packed/videos.parquet"]
        (folder,) = (tmp_path / "CACHE" / "avssl" / "prepare").iterdir()
        for packed in (open_manifest(folder / "stored.parquet"), open_manifest("s3://lab/packed")):
            assert packed.column("labels").to_pylist() == [["run"], ["walk"]]
            assert all(map(torch.equal, pixels(packed), local))

        client.put_object(Bucket="lab", Key="packed/shards/00000.tar", Body=b"theirs")
        assert prepare("-o", "s3://lab/packed", "--shard-size=1GB") == 2
        assert "[occupied]" in capsys.readouterr().err
        assert client.get_object(Bucket="lab", Key="packed/shards/00000.tar")["Body"].read() == b"theirs"
    for path in [*work.rglob("*"), *folder.rglob("*")]:
        assert not path.is_file() or b"key-of-nobody" not in path.read_bytes()
    os.environ.pop(stores.ENVIRONMENT, None)
