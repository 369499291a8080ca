"""Offsets and features of members, objects and segments are those of the files that hold the same recordings."""

from __future__ import annotations

import os
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from avssl.catalog.archives import contents_of
from avssl.catalog.finding import VIDEOS
from avssl.catalog.manifest import Manifest
from avssl.catalog.measuring import measure
from avssl.cli.sync import recordings
from avssl.encoders import ResNet
from avssl.evaluation.extraction import extract_features
from avssl.evaluation.features import Views
from avssl.evaluation.protocol import _names
from avssl.evaluation.synchrony import _others, measure_synchrony
from avssl.labels.recorded import shown_frames
from avssl.media import open_video, stores
from avssl.media.source import Source
from avssl.media.stores import Store, name_stores
from avssl.media.window import whole
from avssl.runtime.device import Machine
from avssl.sync.network import Synchroniser
from avssl.sync.offset import find_offset
from avssl.synthetic.clapper import write_clapper

sys.path.insert(0, str(Path(__file__).parents[1] / "media"))
from servers import serving


class Compare(Synchroniser):
    """Looks when it is bright, listens when it is loud."""

    def __init__(self) -> None:
        super().__init__(1, {}, num_frames=5, step=0.04, rate=16000)
        self.nothing = torch.nn.Parameter(torch.zeros(1))
        self.card = {"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0], "size": [8, 8]}

    def distances(self, clips: torch.Tensor, sounds: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
        bright = clips[..., :4, :4].mean((2, 3, 4))  # [P, T]
        loud = (sounds.unflatten(1, (5, -1)).amax(2) > 0.1).float()  # [Q, T]
        return (bright[:, None] - loud[which]).abs().mean(2)


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setattr(stores, "_current", [])
    monkeypatch.delenv(stores.ENVIRONMENT, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    yield
    os.environ.pop(stores.ENVIRONMENT, None)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("claps")
    for seed, late in enumerate((0.0, 0.08)):
        write_clapper(folder / f"{seed}.mov", late, frames=100, codec="pcm_s16le", seed=seed)
    with tarfile.open(folder / "0.tar", "w") as tar:
        for seed in range(2):
            tar.add(folder / f"{seed}.mov", f"{seed}.mov")
    return folder


def rows_of(root: Path, kind: str) -> list[dict[str, Any]]:
    """Rows of the two recordings as files, whole segments, members or objects."""
    rows: list[dict[str, Any]] = []
    if kind == "members":
        archive = root / "0.tar"
        size = archive.stat().st_size
        for each in contents_of(whole(archive), VIDEOS).recordings:
            place = Source(str(archive), "", each.member, each.offset, each.bytes, size)
            where = {"path": "0.tar", "size_bytes": size, "member": each.member, "offset": each.offset}
            rows.append({**measure(place, False)[0], **where, "bytes": each.bytes})
        return [{**row, "root": str(root)} for row in rows]
    for seed in range(2):
        path = root / f"{seed}.mov"
        asked = (0.0, 4.0) if kind == "segments" else None
        facts = {"root": str(root), "path": path.name, "size_bytes": path.stat().st_size}
        rows.append({**measure(path, False, [asked])[0], **facts, "asked": asked})
    return rows


def measured(videos: Manifest, folder: Path) -> tuple[Any, ...]:
    torch.manual_seed(0)
    encoder = ResNet(width=8).eval()
    encoder.card = {"mean": [0.4, 0.4, 0.4], "std": [0.25, 0.25, 0.25]}
    views = Views(clips=2, num_frames=4, step=0.1, size=32)
    features = extract_features(encoder, videos, range(len(videos)), views, Machine(workers=0, cache=folder / "cache"))
    videos.write(folder / "videos.parquet")
    offsets = []
    for path, info in recordings(folder / "videos.parquet"):
        with open_video(path, info=info) as reader:
            offsets.append(find_offset(reader, Compare(), 0.4, 0.04).seconds)
    found = measure_synchrony(videos, Compare(), 0.4, 0.04)
    return features.tolist(), offsets, found.error_ms.each, found.auc.value


@pytest.fixture(scope="module")
def expected(root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, ...]:
    found = measured(Manifest.from_rows(rows_of(root, "files")), tmp_path_factory.mktemp("files"))
    assert found[1] == pytest.approx([0.0, 0.08])
    return found


@pytest.mark.parametrize("kind", ["segments", "members", "objects"])
def test_kinds_of_rows(kind: str, root: Path, expected: tuple[Any, ...], tmp_path: Path) -> None:
    rows = rows_of(root, kind)
    if kind != "objects":
        assert measured(Manifest.from_rows(rows), tmp_path) == expected
        return
    with serving() as server:
        name_stores({"web": Store(server.url, allow_http=True)})
        for row in rows:
            server.objects[f"/{row['path']}"] = (root / row["path"]).read_bytes()
            row |= {"store": "web", "etag": server.etag(f"/{row['path']}")}
        assert measured(Manifest.from_rows(rows), tmp_path) == expected


def test_segments_are_told_apart(root: Path) -> None:
    spans = [(0.0, 1.0), (1.0, 3.0), None]
    rows = [
        {**row, "root": str(root), "path": "0.mov", "asked": span}
        for row, span in zip(measure(root / "0.mov", False, spans), spans, strict=True)
    ]
    videos = Manifest.from_rows([*rows, *rows_of(root, "members")])
    assert _names(videos) == ["0.mov@0.0+1.0", "0.mov@1.0+2.0", "0.mov", "0.tar/0.mov", "0.tar/1.mov"]
    assert _others(videos) == [3, 3, 3, 4, 0]  # the sound of the same film is no other sound
    assert _others(videos.select([0, 1])) == [1, 0]
    seconds = torch.tensor([0.0, 0.5], dtype=torch.float64).numpy()
    assert shown_frames(seconds, videos[1]).tolist() == [25, 37]  # depth maps are numbered from the film's first frame
