"""A manifest that somebody else wrote: no byte is read but those of the parts of files that it may name."""

from __future__ import annotations

import os
import sys
import tarfile
from pathlib import Path
from typing import Any

import av
import pyarrow.parquet as pq
import pytest
import torch
from films import film

from avssl.catalog.copies import prepare
from avssl.catalog.index import build_index
from avssl.catalog.manifest import Manifest
from avssl.media import MediaError, Store, open_video, stores
from avssl.media import window as media_window

sys.path.insert(0, str(Path(__file__).parents[1] / "media"))
from servers import serving

SIZE = 2000  # bytes of a file that is none of the collection's
WHOLE = {"member": None, "offset": None, "bytes": None}
STORED = {**WHOLE, "store": "web", "mtime_ns": None}
ROWS: list[tuple[dict[str, Any], str]] = [
    ({"path": "../secret.tar"}, "key"),
    ({"path": "../secret.tar", "member": None, "offset": 0, "bytes": SIZE, "size_bytes": SIZE}, "key"),
    ({"path": "{folder}/secret.tar"}, "key"),
    ({"path": "link.tar"}, "key"),
    ({"path": "linked/secret.tar"}, "key"),
    ({"path": "../../../../../../../../../etc/passwd", "member": None, "offset": 0, "bytes": 20}, "key"),
    ({"member": "{folder}/secret.tar"}, "key"),
    ({"member": "../../secret.tar", **dict.fromkeys(("offset", "bytes"))}, "key"),
    ({"member": "one.mp4", "bytes": None}, "outside"),
    ({"offset": -512}, "outside"),
    ({"bytes": -1}, "outside"),
    ({"bytes": 0}, "outside"),
    ({"bytes": 1 << 62}, "outside"),
    ({"offset": 1 << 62}, "outside"),
    ({"member": "other.mp4"}, "changed"),
    ({"offset": 0}, "changed"),
    ({"bytes": 600}, "changed"),
    ({"member": None, "bytes": 1 << 20, "size_bytes": 1 << 30}, "changed"),
    ({**STORED, "store": "elsewhere"}, "store_unknown"),
    ({**STORED, "store": "../web"}, "store_unknown"),
    ({**STORED, "path": "../secret"}, "key"),
    ({**STORED, "path": "/secret"}, "key"),
    ({**STORED, "path": "http://other/secret"}, "key"),
    ({**STORED, "path": "a\nb"}, "key"),
    ({**STORED, "offset": -9, "bytes": 9, "size_bytes": 9}, "outside"),
    ({**STORED, "offset": 9, "bytes": 9, "size_bytes": 9}, "outside"),
    ({**STORED, "offset": 0, "bytes": 0, "size_bytes": 9}, "outside"),
]


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    """A folder with an archive of a film, beside a file that isn't part of it and two links to that."""
    root = tmp_path / "root"
    film(tmp_path / "one.mp4")
    root.mkdir()
    with tarfile.open(root / "films.tar", "w") as tar:
        tar.add(tmp_path / "one.mp4", "one.mp4")
    (tmp_path / "secret.tar").write_bytes((root / "films.tar").read_bytes())
    return root


def shown(videos: Manifest) -> torch.Tensor:
    """All frames of the first recording."""
    info = videos[0]
    with open_video(info.path, info=info) as reader:
        return reader.frames(torch.arange(info.num_frames, dtype=torch.float64) / info.fps)


def test_a_row_gives_its_own_bytes_or_a_reason(
    collection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "_current", [])
    monkeypatch.setenv(stores.ENVIRONMENT, '{"stores": {}}')
    good = build_index(collection, tmp_path / "good.parquet", workers=1).to_rows()[0]
    (collection / "link.tar").symlink_to(tmp_path / "secret.tar")
    (collection / "linked").symlink_to(tmp_path)
    opened: list[str] = []
    really = media_window._open
    monkeypatch.setattr(media_window, "_open", lambda path: opened.append(os.path.realpath(path)) or really(path))
    read = av.open
    monkeypatch.setattr(av, "open", lambda file, *rest, **how: opened.append(str(file)) or read(file, *rest, **how))
    with serving() as server:
        stores.name_stores({"web": Store(server.url, allow_http=True, retries=0)})
        for change, code in ROWS:
            texts = {name: value.format(folder=tmp_path) for name, value in change.items() if isinstance(value, str)}
            table = Manifest.from_rows([{**good, **change, **texts}])
            pq.write_table(table.table(True), tmp_path / "theirs.parquet")
            with pytest.raises(MediaError) as caught:
                shown(Manifest.open(tmp_path / "theirs.parquet"))
            assert caught.value.code == code, (change, caught.value)
        assert server.asked == []
    assert set(opened) <= {str(collection / "films.tar")}
    assert len(shown(Manifest.from_rows([good]))) == 12


def test_links_out_of_a_folder_are_told_when_it_is_indexed(collection: Path, tmp_path: Path) -> None:
    (collection / "link.tar").symlink_to(tmp_path / "secret.tar")
    with pytest.raises(MediaError, match=f"outside of .*root, at .*secret.tar.*Index {tmp_path}"):
        build_index(collection, tmp_path / "videos.parquet", workers=1)


@pytest.mark.parametrize("path", ["../film.mp4", "{folder}/film.mp4"])
def test_copies_stay_in_their_folder(path: str, collection: Path, tmp_path: Path) -> None:
    film(tmp_path / "in" / "film.mp4")
    row = build_index(tmp_path / "in", tmp_path / "good.parquet", workers=1).to_rows()[0]
    theirs = Manifest.from_rows([{**row, "path": path.format(folder=tmp_path / "in")}])
    with pytest.raises(ValueError, match="out of the folder of copies"):
        prepare(theirs, tmp_path / "copies", workers=1)
    assert not (tmp_path / "film.mp4").exists()
