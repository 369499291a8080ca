"""Nothing but the named local file is ever opened."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from avssl.media import MediaError, open_video, probe


@pytest.fixture
def server(films: dict[str, Path]) -> Iterator[tuple[str, list[str]]]:
    """A loopback server of one film, and the list of what was asked of it."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(films["h264.ts"].read_bytes())

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}", asked
        httpd.shutdown()


@pytest.mark.parametrize(
    "address",
    ["{url}/a.ts", "tcp://127.0.0.1:9", "concat:{film}|{film}", "subfile,,start,0,end,0,,:{film}", "data:video/mp4,x"],
)
def test_addresses_are_refused(address: str, server: tuple[str, list[str]], films: dict[str, Path]) -> None:
    url, asked = server
    with pytest.raises(MediaError) as caught:
        probe(address.format(url=url, film=films["h264.mp4"]))
    assert caught.value.code == "url"
    assert not asked


SCRIPTS = {
    "playlist": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{target}\n#EXT-X-ENDLIST\n",
    "script": "ffconcat version 1.0\nfile {target}\n",
    "session": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    "manifest": '<?xml version="1.0"?><MPD><BaseURL>{target}</BaseURL></MPD>',
}


@pytest.mark.parametrize("suffix", [".mp4", ".m3u8", ".txt"])
@pytest.mark.parametrize("kind", SCRIPTS)
@pytest.mark.parametrize("target", ["film", "url", "passwd"])
def test_scripts_posing_as_media_are_refused(
    kind: str, suffix: str, target: str, server: tuple[str, list[str]], films: dict[str, Path], tmp_path: Path
) -> None:
    url, asked = server
    film = tmp_path / "film.ts"
    film.write_bytes(films["h264.ts"].read_bytes())
    path = tmp_path / f"x{suffix}"
    path.write_text(
        SCRIPTS[kind].format(target={"film": film.name, "url": f"{url}/a.ts", "passwd": "/etc/passwd"}[target])
    )
    info = probe(films["h264.mp4"])
    with pytest.raises(MediaError) as caught:
        probe(path)
    assert caught.value.code in {"playlist", "not_media"}
    for backend in ("pyav", "torchcodec", "decord"):  # a file that was exchanged after it was indexed
        with pytest.raises(MediaError):
            open_video(path, backend, info=info.__class__(**{**vars(info), "path": path}))
    assert not asked


def test_what_is_wrong_is_said(films: dict[str, Path], tmp_path: Path) -> None:
    page, cut, image = tmp_path / "page.mp4", tmp_path / "cut.mp4", tmp_path / "x.jpg"
    page.write_text("<!doctype html><html>Not found</html>")
    cut.write_bytes(films["h264.mp4"].read_bytes()[:9000])
    image.write_bytes(b"\xff\xd8\xff\xe0" + bytes(100))
    broken = tmp_path / "broken.mkv"
    broken.write_bytes(b"\x1a\x45\xdf\xa3" + bytes(1000))
    table = {
        tmp_path / "nowhere.mp4": ("not_found", "no such file"),
        tmp_path: ("not_file", "not a regular file"),
        page: ("not_media", "web page"),
        image: ("not_media", "still image"),
        cut: ("truncated", "moov"),
        broken: ("corrupt", "looks like matroska"),
    }
    for path, (code, words) in table.items():
        with pytest.raises(MediaError, match=words) as caught:
            probe(path)
        assert caught.value.code == code
        assert caught.value.path == path
    with pytest.raises(MediaError, match="exceed 1000 pixels") as caught:
        probe(films["h264.mp4"], max_pixels=1000)
    assert caught.value.code == "too_large"
    with pytest.raises(ValueError, match="expected auto"):
        open_video(films["h264.mp4"], backend="best")
