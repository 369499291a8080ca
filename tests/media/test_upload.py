"""Objects are written once, in parts where they are large, and over nothing that isn't ours."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from servers import S3Server, serving, serving_s3

from avssl.media import MediaError, signing, stores, upload
from avssl.media.stores import Store, name_stores
from avssl.media.upload import check_writable, put


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[tuple[S3Server, Any]]:
    boto3 = pytest.importorskip("boto3")
    monkeypatch.setattr(stores, "_current", [])
    monkeypatch.delenv(stores.ENVIRONMENT, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "key-of-nobody")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with serving_s3() as server:
        client = boto3.client("s3", endpoint_url=server.url)
        client.create_bucket(Bucket="out")
        name_stores({"out": Store("s3://out/p", endpoint=server.url, allow_http=True, deadline=20)})
        server.asked.clear()
        yield server, client
    os.environ.pop(stores.ENVIRONMENT, None)


def test_objects_are_written_once_and_over_nothing_else(lab: tuple[S3Server, Any], tmp_path: Path) -> None:
    server, client = lab
    file, known = tmp_path / "a.mp4", dict[str, Any]()

    def sent(text: bytes, key: str = "a b/ü.mp4") -> str:
        file.write_bytes(text)
        return put("out", key, file, hashlib.sha256(text).hexdigest(), dict(known), known.update)

    etag = sent(b"one")
    assert client.get_object(Bucket="out", Key="p/a b/ü.mp4")["Body"].read() == b"one"
    count = len(server.asked)
    assert sent(b"one") == etag
    assert [method for method, *_ in server.asked[count:]] == ["GET"]
    assert sent(b"two") != etag  # ours, and changed
    known.clear()
    assert sent(b"two") == client.head_object(Bucket="out", Key="p/a b/ü.mp4")["ETag"]
    client.put_object(Bucket="out", Key="p/a b/ü.mp4", Body=b"theirs")
    for text in (b"two", b"three"):
        with pytest.raises(MediaError, match=r"out:a b/ü\.mp4: .*\[occupied\]"):
            sent(text)
    assert client.get_object(Bucket="out", Key="p/a b/ü.mp4")["Body"].read() == b"theirs"
    assert "key-of-nobody" not in str(known)


def test_a_large_file_goes_on_where_it_was(lab: tuple[S3Server, Any], tmp_path: Path, monkeypatch: Any) -> None:
    server, client = lab
    monkeypatch.setattr(upload, "PART", 5 << 20)
    data = np.random.default_rng(0).bytes(12 << 20)
    file, content, notes = tmp_path / "a.tar", hashlib.sha256(data).hexdigest(), []
    file.write_bytes(data)

    def stopping(kept: Any) -> None:
        notes.append(kept)
        if len(kept.get("parts", ())) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        put("out", "a.tar", file, content, {}, stopping)
    count = len(server.asked)
    etag = put("out", "a.tar", file, content, notes[-1], notes.append)
    assert [method for method, *_ in server.asked[count:]] == ["GET", "PUT", "POST", "GET"]
    assert client.get_object(Bucket="out", Key="p/a.tar")["Body"].read() == data
    assert notes[-1] == {"content": content, "etag": etag}

    other = {"of": content, "step": 5 << 20, "upload": "gone", "parts": ["x"]}
    client.delete_object(Bucket="out", Key="p/a.tar")
    send = upload._send

    def forgetful(client: Any, method: str, key: str, query: Any, *more: Any) -> Any:  # moto answers 500
        if query.get("uploadId") == "gone":
            raise client.failure(key, "not_found", "the server answers 404 NoSuchUpload")
        return send(client, method, key, query, *more)

    monkeypatch.setattr(upload, "_send", forgetful)
    put("out", "a.tar", file, content, other, notes.append)  # the store has forgotten this upload
    assert client.get_object(Bucket="out", Key="p/a.tar")["Body"].read() == data


@pytest.mark.parametrize("scheme", ["gs", "az"])
def test_other_clouds(scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """obstore's store in memory stands for Google's and Azure's; what is asked of it is what they are asked."""
    there = pytest.importorskip("obstore.store").MemoryStore()
    monkeypatch.setattr(stores, "_current", [])
    monkeypatch.setenv(stores.ENVIRONMENT, "")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "mine")
    name_stores({"cloud": Store(f"{scheme}://out/p", endpoint="https://127.0.0.1:1", anonymous=True, retries=0)})
    with pytest.raises(MediaError, match=r"cloud:a\.mp4: .*\[offline\]"):  # no server is there
        put("cloud", "a.mp4", Path(__file__), "0", {}, lambda kept: None)
    monkeypatch.setattr(signing, "cloud_store", lambda name, store: there)
    check_writable("cloud")
    file, known = tmp_path / "a.mp4", dict[str, Any]()

    def sent(text: bytes) -> str:
        file.write_bytes(text)
        return put("cloud", "a b/ü.mp4", file, hashlib.sha256(text).hexdigest(), dict(known), known.update)

    etag = sent(b"one")
    assert bytes(there.get("p/a b/ü.mp4").bytes()) == b"one"
    assert sent(b"one") == etag  # not sent again
    assert sent(b"two") != etag  # ours, and changed
    there.put("p/a b/ü.mp4", b"theirs")
    for text in (b"two", b"three"):
        with pytest.raises(MediaError, match=r"cloud:a b/ü\.mp4: .*\[occupied\]"):
            sent(text)
    assert bytes(there.get("p/a b/ü.mp4").bytes()) == b"theirs"


def test_other_stores_are_refused() -> None:
    with serving() as server:
        name_stores({"web": Store(server.url, allow_http=True)})
        with pytest.raises(MediaError, match=r"web:.*this one is http \[no_upload\]"):
            check_writable("web")
    os.environ.pop(stores.ENVIRONMENT, None)
    stores._current.clear()
