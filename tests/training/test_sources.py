"""Training on members of archives and on objects in stores equals training on the files themselves."""

from __future__ import annotations

import sys
import tarfile
from functools import partial
from pathlib import Path

import pytest
import torch

from avssl.catalog.index import build_index
from avssl.catalog.manifest import Manifest
from avssl.data import Augment
from avssl.encoders import R3D, VGG, load_encoder, weights_hash
from avssl.media.source import SourceError
from avssl.methods import AVTS
from avssl.training import Data, pretrain

sys.path.insert(0, str(Path(__file__).parents[1] / "media"))
from servers import RangeServer, serving, serving_s3

STEPS = 5


pytestmark = pytest.mark.usefixtures("own_stores")


def trained(root: str | Path, runs: Path, workers: int = 0, steps: int = STEPS, **data: object) -> str:
    """Return the hash of the encoder's weights after a few steps."""
    torch.manual_seed(0)
    method = AVTS(R3D(width=8), VGG(width=8))
    held = Data(Augment(size=32), root=str(root), batch_size=4, workers=workers, backend="pyav", rounds=1, **data)
    trainer = {"max_steps": steps, "accelerator": "cpu", "precision": "32-true", "log_every_n_steps": 1}
    pretrain("run", method, held, partial(torch.optim.AdamW, lr=1e-3), trainer, runs=str(runs), measure_every=99)
    return weights_hash(load_encoder(runs / "run"))


@pytest.fixture(scope="module")
def expected(world: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return trained(world, tmp_path_factory.mktemp("files"))


def packed(world: Path, folder: Path) -> Path:
    """Pack the world's files into two archives, as webdataset does, whose keys sort as the files do."""
    folder.mkdir()
    files = sorted(world.glob("*/*.mp4"))
    for number in range(2):
        with tarfile.open(folder / f"{number:05d}.tar", "w") as tar:
            for path in files[number * len(files) // 2 : (number + 1) * len(files) // 2]:
                tar.add(path, path.relative_to(world).as_posix())
    return folder


def test_members_of_archives(world: Path, expected: str, tmp_path: Path) -> None:
    folder = packed(world, tmp_path / "shards")
    videos = build_index(folder, tmp_path / "videos.parquet", workers=1)
    plain = build_index(world, tmp_path / "plain.parquet", workers=1)
    assert videos.classes == plain.classes
    assert videos.column("content").to_pylist() == plain.column("content").to_pylist()
    assert trained(tmp_path / "videos.parquet", tmp_path / "runs", workers=2) == expected
    assert sorted(path.name for path in folder.iterdir()) == ["00000.tar", "00001.tar"]


def in_store(server: RangeServer, videos: Manifest, out: Path) -> None:
    """Put a collection's files on a server, and write a manifest of them there."""
    rows = videos.to_rows()
    for row in rows:
        server.objects[f"/{row['path']}"] = (Path(row["root"]) / row["path"]).read_bytes()
        row |= {"store": "web", "mtime_ns": None, "etag": server.etag(f"/{row['path']}")}
    Manifest.from_rows(rows).write(out)


def test_a_store_that_fails_now_and_then_changes_nothing_and_one_that_refuses_stops_the_run(
    world: Path, expected: str, tmp_path: Path
) -> None:
    videos = build_index(world, tmp_path / "plain.parquet", workers=1)
    with serving() as server:
        in_store(server, videos, tmp_path / "web.parquet")
        where = {"stores": {"web": {"url": server.url, "allow_http": True, "timeout": 1.0, "deadline": 20.0}}}
        server.fault = lambda number: {3: "503", 9: "cut", 14: "stall", 20: "drop"}.get(number % 23)
        assert trained(tmp_path / "web.parquet", tmp_path / "faults", **where) == expected
        assert len(server.asked) > 60

        server.fault = lambda number: "403" if number > len(server.objects) // 2 else None
        server.asked.clear()
        with pytest.raises(SourceError, match=r"web:.*\[denied\]"):
            trained(tmp_path / "web.parquet", tmp_path / "refused", **where)
        server.fault = lambda number: None
        before = dict(server.objects)
        server.objects.update({name: data[:-1] + b"x" for name, data in before.items()})
        with pytest.raises(SourceError, match=r"web:.*\[changed\]"):
            trained(tmp_path / "web.parquet", tmp_path / "refused", **where)
        server.objects.update(before)
        assert trained(tmp_path / "web.parquet", tmp_path / "refused", workers=2, **where) == expected


def test_objects_of_a_bucket(world: Path, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boto3 = pytest.importorskip("boto3")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "key-of-nobody")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with serving_s3() as server:
        client = boto3.client("s3", endpoint_url=server.url)
        client.create_bucket(Bucket="lab")
        for path in sorted(world.glob("*/*.mp4")):
            client.upload_file(str(path), "lab", f"loose/{path.relative_to(world).as_posix()}")
        for path in packed(world, tmp_path / "shards").iterdir():
            client.upload_file(str(path), "lab", f"shards/{path.name}")
        where = {"stores": {"lab": {"url": "s3://lab", "endpoint": server.url, "allow_http": True}}}
        assert trained("s3://lab/loose", tmp_path / "loose", **where) == expected
        copies = {"cache": str(tmp_path / "copies")}
        assert trained("s3://lab/shards", tmp_path / "sharded", **where, **copies) == expected
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"key-of-nobody" not in path.read_bytes(), path
