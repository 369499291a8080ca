"""Which stores and keys are allowed, what is written of them, and how other processes learn of them."""

from __future__ import annotations

import base64
import json
import logging
import os
import pickle
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from servers import S3Server, serving, serving_s3

from avssl.cli import main
from avssl.data.dataset import ClipDataset
from avssl.media import VideoInfo, objects, stores
from avssl.media.client import client_of
from avssl.media.places import Place, check_key, locate
from avssl.media.remote import open_remote
from avssl.media.source import Source, SourceError
from avssl.media.stores import Settings, Store, gather, name_stores, parse_stores, settings, use

SECRET = {
    "AWS_ACCESS_KEY_ID": "AKIAGEHEIM",
    "AWS_SECRET_ACCESS_KEY": "geheim/secret",
    "AWS_SESSION_TOKEN": "geheim-tok",
}


@pytest.fixture(autouse=True)
def _no_stores(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No test sees the user's stores or credentials, or those of another test."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv(stores.ENVIRONMENT, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    for name, value in SECRET.items():
        monkeypatch.setenv(name, value)
    stores._current.clear()
    yield
    stores._current.clear()


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    """An S3 server with a bucket."""
    boto3 = pytest.importorskip("boto3")
    with serving_s3() as server:
        keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
        client = boto3.client("s3", endpoint_url=server.url, **keys)
        client.create_bucket(Bucket="lab")
        client.put_object(Bucket="lab", Key="v/a b/ü+%2e&.mp4", Body=b"12345")
        for number in range(4):
            client.put_object(Bucket="lab", Key=f"v/many/{number}.mp4", Body=b"x")
        client.put_object(Bucket="lab", Key="v/folder/", Body=b"")
        client.put_object(Bucket="lab", Key="v//odd.mp4", Body=b"x")
        client.put_object(Bucket="lab", Key="vv/other.mp4", Body=b"x")
        yield server


def test_places_and_keys() -> None:
    name_stores(
        {"lab": Store("s3://bucket/v"), "whole": Store("s3://bucket"), "web": Store("https://example.org/films")}
    )
    assert locate("s3://bucket/v/a/b/") == Place("lab", "a/b")  # the longest address that fits
    assert locate(Path("s3://bucket/vv")) == Place("whole", "vv")
    assert locate("web:train") == locate("https://example.org/films/train") == Place("web", "train")
    assert [locate(root) for root in ("/videos", "C:/videos", "unknown:x")] == [None] * 3
    for root in ("s3://bucke", "https://example.org.evil.com/films", "https://u:geheim@example.org/x?sig=geheim"):
        with pytest.raises(SourceError, match="store_unknown") as caught:
            locate(root)
        assert "geheim" not in str(caught.value)
    for root in ("s3://bucket/v/../w", "lab:a//b"):
        with pytest.raises(SourceError, match=r"\[key\]"):
            locate(root)
    for key in ("", "/etc/passwd", "a/../b", "..", "a//b", "./a", "http://x", "a\nb", "a\x00", "a\\b", "a\udc80", "a/"):
        with pytest.raises(SourceError, match=r"\[key\]"):
            check_key("lab", key)
    assert check_key("lab", "a b/..c/ü%2e%2e?&#.mp4")


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "s3://me:geheim@bucket"},
        {"url": "https://host/x?token=geheim"},
        {"url": "https://geheim@host"},
        {"url": "http://host"},
        {"url": "file:///etc"},
        {"url": "s3://bucket/../geheim"},
        {"url": "s3://bucket", "endpoint": "http://host"},
        {"url": "s3://bucket", "endpoint": "https://host?key=geheim"},
        {"url": "s3://bucket", "secret_access_key": "geheim"},
        {"url": "s3://bucket", "deadline": 0},
        {"endpoint": "https://geheim"},
    ],
)
def test_wrong_settings(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="store 'lab'") as caught:
        stores.make_store("lab", wrong)
    assert "geheim" not in str(caught.value)


def test_settings_from_words_and_the_users_file(tmp_path: Path) -> None:
    words = ["--seed=1", "--data.stores.lab.url=s3://b/v", "--data.stores.lab.timeout=3", "--data.root=lab:x"]
    kept = gather(words)
    assert kept[:2] == ["--seed=1", "--data.root=lab:x"]
    assert json.loads(kept[2].removeprefix("--data.stores.lab=")) == {"url": "s3://b/v", "timeout": 3}
    web = {"allow_http": True, "requests_per_second": 5}
    assert parse_stores(["s3://bucket/v", "web=http://localhost:80,allow_http=true,requests_per_second=5"]) == {
        "bucket": Store("s3://bucket/v"),
        "web": Store("http://localhost:80", **web),
    }
    file = tmp_path / "config" / "avssl" / "stores.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("lab: {url: s3://b, profile: mine}\n")
    assert settings() == Settings({"lab": Store("s3://b", profile="mine")})
    name_stores(None, str(tmp_path), 2.0)  # adds to it
    assert settings() == Settings({"lab": Store("s3://b", profile="mine")}, str(tmp_path), 2.0)
    stores._current.clear()
    os.environ.pop(stores.ENVIRONMENT)
    file.write_text("lab: {url: s3://b, secret: geheim}\n")
    with pytest.raises(ValueError, match=r"stores\.yaml: store 'lab': no setting is called 'secret'"):
        settings()


def test_other_processes_know_the_stores() -> None:
    """By their environment, and those that a server forks by the data set that they are given."""
    name_stores({"lab": Store("s3://b", requests_per_second=3)})
    given, video = settings(), VideoInfo(Path("a.mp4"), 2.0, 25.0, (48, 64))
    stores._current.clear()
    assert settings() == given
    dataset = pickle.dumps(ClipDataset([video], SimpleNamespace(seconds=1.0), None))
    use(Settings())
    pickle.loads(dataset)
    assert settings() == given


def test_unknown_stores_cost_no_request(capsys: pytest.CaptureFixture[str]) -> None:
    with serving() as server:
        with pytest.raises(SourceError, match="store_unknown"):
            open_remote(Source("a.mp4", store="lab", num_bytes=9, size_bytes=9))
        name_stores({"web": Store(server.url + "/v", allow_http=True)})
        with pytest.raises(SourceError, match=r"\[key\]"):
            open_remote(Source("../a.mp4", store="web", num_bytes=9, size_bytes=9))
        assert main(["index", server.url + "/w", "-o", "none.parquet"]) == 2
        assert main(["index", "s3://b/v", "--stores", "lab=s3://c", "-o", "none.parquet"]) == 2
        assert server.asked == []
    told = capsys.readouterr().err
    assert told.count("store_unknown") == 2
    assert "s3://b/v: it lies in no store" in told
    assert "--stores NAME" in told


def test_listing(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "PAGE", 2)
    name_stores({"lab": Store("s3://lab/v", endpoint=s3.url, allow_http=True)})
    begun = len(s3.asked)
    found = list(objects.find_objects("lab"))
    assert [(each.key, each.size) for each in found[:2]] == [("a b/ü+%2e&.mp4", 5), ("many/0.mp4", 1)]
    assert len(found) == 5
    assert len(s3.asked) - begun == 4  # pages; there are an empty object and an odd key too
    assert [each.key for each in objects.find_objects("lab", "a b")] == ["a b/ü+%2e&.mp4"]
    key, size, etag = found[0]
    reader = open_remote(Source(key, "lab", num_bytes=size, size_bytes=size, etag=etag))
    assert reader.pread(9, 1) == b"2345"
    assert reader.requests == 1
    name_stores({"gone": Store("s3://gone", endpoint=s3.url, allow_http=True)})
    with pytest.raises(SourceError, match=r"404 NoSuchBucket \[not_found\]"):
        list(objects.find_objects("gone"))


def test_secrets_stay_in_the_process(s3: S3Server, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Requests are signed with the secret, which is in no pickle, log, environment variable, file or address."""
    caplog.set_level(logging.DEBUG)
    lab = Store("s3://lab/v", endpoint=s3.url, allow_http=True)
    name_stores({"lab": lab}, str(tmp_path / "cache"))
    begun = len(s3.asked)
    reader = open_remote(Source("a b/ü+%2e&.mp4", "lab", num_bytes=5, size_bytes=5))
    assert reader.pread(5, 0) == b"12345"
    _, address, headers = s3.asked[begun]
    assert "AKIAGEHEIM" in headers["authorization"]
    assert headers["x_amz_security_token"] == "geheim-tok"
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert written  # the copy
    for each in (address, caplog.text, os.environ[stores.ENVIRONMENT], *written, pickle.dumps(settings())):
        for secret in SECRET.values():
            assert secret.encode() not in (each if isinstance(each, bytes) else each.encode())
    use(Settings({"lab": Store("s3://lab", endpoint=s3.url, allow_http=True, profile="none")}))
    with pytest.raises(SourceError, match=r"lab:: The config profile \(none\) could not be found \[denied\]"):
        client_of("lab")


@pytest.mark.parametrize("scheme", ["gs", "az"])
def test_signed_addresses(
    scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Google's and Azure's objects are asked for by addresses whose signature is told to nobody else."""
    caplog.set_level(logging.DEBUG)
    if scheme == "az":
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "mine")
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", base64.b64encode(b"geheim").decode())
    else:
        private = rsa.generate_private_key(65537, 2048).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        account = {"type": "service_account", "client_email": "a@b", "private_key_id": "1"}
        (tmp_path / "key.json").write_text(json.dumps({**account, "private_key": private.decode()}))
        monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT", str(tmp_path / "key.json"))
    with serving() as server:
        server.objects["/films/v/a b.mp4"] = b"12345"
        use(Settings({"cloud": Store(f"{scheme}://films/v", endpoint=server.url, allow_http=True, retries=0)}))
        assert open_remote(Source("a b.mp4", "cloud")).pread(9, 1) == b"2345"
        path, headers, _ = server.asked[0]
        signature = parse_qs(urlsplit(path).query)[{"gs": "X-Goog-Signature", "az": "sig"}[scheme]][0]
        assert headers["range"] == "bytes=0-262143"
        server.fault = lambda number: "drop"
        with pytest.raises(SourceError, match="offline") as caught:
            open_remote(Source("a b.mp4", "cloud"))
    told = caplog.text + "".join(traceback.format_exception(caught.value))
    assert signature not in told
    assert quote(signature) not in told


def test_passwords_of_http_servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password geheim")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with serving() as server:
        server.objects["/a.mp4"] = b"12345"
        for anonymous in (False, True):
            use(Settings({"web": Store(server.url, allow_http=True, anonymous=anonymous)}))
            assert open_remote(Source("a.mp4", "web")).pread(9, 0) == b"12345"
    assert server.asked[0].headers["authorization"] == "Basic " + base64.b64encode(b"me:geheim").decode()
    assert "authorization" not in server.asked[1].headers
