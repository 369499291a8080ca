"""A stretch of a file is read as the same file by itself would be, and no other byte is."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from flashclick import Recipe, number, write
from PIL import Image

from avssl.media import MediaError, VideoInfo, open_video, probe
from avssl.media import files as media_files
from avssl.media import window as media_window
from avssl.media.motion import scan
from avssl.media.source import Source, SourceError
from avssl.media.tar import members
from avssl.media.window import LocalRange, Range, Window, open_range, whole

FOLDERS = ("odd_files", "fault_files")
SCANNED = 60_000  # bytes: larger films are probed and read at random, but not decoded from end to end
FILM = Recipe("film.mp4", size=(48, 64), frames=25, gop=6)


def sources(archive: Path) -> dict[str, Source]:
    """The members of a tar archive, by name."""
    file = open_range(whole(archive))
    found = {member.name: member.source(whole(archive)) for member in members(file, str(archive))}
    file.close()
    return found


def pack(archive: Path, *paths: Path) -> dict[str, Source]:
    with tarfile.open(archive, "w") as tar:
        for path in paths:
            tar.add(path, path.name)
    return sources(archive)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(FILM, tmp_path_factory.mktemp("film"))


@pytest.fixture(scope="module")
def collection(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Source]]:
    """Every odd film and its copy in a tar archive; those of the folder of faults as far as they are small."""
    paths = [path for folder in FOLDERS for path in sorted((shared_data / folder).iterdir())]
    paths = [path for path in paths if path.suffix not in (".json", ".md") and "paff" not in path.name]
    found = pack(tmp_path_factory.mktemp("tar") / "films.tar", *paths)
    empty = {path.name for path in paths if path.stat().st_size == 0}
    assert found.keys() == {path.name for path in paths} - empty
    return {path.name: (path, found[path.name]) for path in paths if path.name in found}


def outcome(step: Callable[[], Any]) -> Any:
    """What a step gives, or the code with which it is refused."""
    try:
        return step()
    except SourceError:
        raise
    except MediaError as error:
        return error.code


def read(info: VideoInfo) -> list[Any]:
    """Frames in the wrong order, and sound from before the start, of a short film also beyond its end."""
    times = torch.tensor([0.6, 0.1], dtype=torch.float64) * info.duration
    with open_video(info.path, "pyav", info) as reader:
        frames = outcome(lambda: reader.frames(times, (48, 64)))
        return [
            frames,
            outcome(lambda: reader.audio(-0.1, min(info.duration, 3.0) + 0.1, 16000)) if info.audio else None,
        ]


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(equal, one, other))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def like(info: VideoInfo, other: VideoInfo) -> VideoInfo:
    """The info of a member, as if it were of the same file by itself, which more readers read."""
    return replace(info, path=other.path, source=None, backends=other.backends, motion=other.motion)


def test_members_are_read_as_the_files_are(collection: dict[str, tuple[Path, Source]]) -> None:
    refused = []
    for name, (path, source) in collection.items():
        info, within = outcome(lambda: probe(path)), outcome(lambda: probe(source))
        if isinstance(info, str):
            refused.append(name)
            assert within == info, name
            continue
        assert within.path == Path(f"{source.path}/{name}")
        assert (within.source, within.backends) == (source, ("pyav",))
        assert like(within, info) == info, name
        assert equal(read(info), read(within)), name
        if path.stat().st_size <= SCANNED:
            one, other = scan(path, info), scan(source, within)
            assert other.source == source
            assert equal(one.motion, other.motion), name
            assert like(other, one) == one, name
    assert sorted(refused) == ["liveportrait_git_lfs_pointer.mp4", "moviepy_audio_only.mp4"]


def test_images_in_archives(tmp_path: Path) -> None:
    paths = [tmp_path / f"a.{kind}" for kind in ("jpg", "png", "webp", "bmp")]
    for path in paths:
        Image.linear_gradient("L").convert("RGB").save(path)
    for path, source in zip(paths, pack(tmp_path / "x.tar", *paths).values(), strict=True):
        info = probe(source)
        assert like(info, probe(path)) == probe(path)
        with open_video(path) as one, open_video(source) as other:
            assert equal(one.frames(torch.zeros(1)), other.frames(torch.zeros(1)))


class Failing:
    """A range of which one read fails, or gives a byte too few; those after it are sound again."""

    left = -1  # reads until then; none fails while this is negative
    reads = 0
    failure: BaseException | None = None

    def __init__(self, source: Source) -> None:
        self._file = LocalRange(source)
        self.size = self._file.size

    def pread(self, n: int, offset: int) -> bytes:
        Failing.reads += 1
        Failing.left -= 1
        data = self._file.pread(n, offset)
        if Failing.left != -1:
            return data
        if Failing.failure is None:
            return data[:-1]
        raise Failing.failure

    def close(self) -> None:
        self._file.close()


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for module in (media_files, media_window):
        monkeypatch.setattr(module, "open_range", Failing)
    Failing.left = -1
    yield
    Failing.left = -1


OFFLINE = SourceError("films.tar", "offline", "no answer", "Try again")


@pytest.mark.parametrize("failure", [OFFLINE, None], ids=["raises", "short"])
@pytest.mark.parametrize("name", ["film.mp4", "film.avi", "m2_k1.mpg", "b0_k0.ts", "cod_theora.ogv", "a.jpg"])
def test_no_failing_read_is_taken_for_damage_or_an_end(
    name: str, failure: BaseException | None, film: Path, shared_data: Path, tmp_path: Path, failing: None
) -> None:
    path = shared_data / "fault_files" / name
    if name == "film.mp4":
        path = film
    elif name == "film.avi":
        path = write(replace(FILM, name=name, video="mpeg4", audio="mp3", b_frames=0, frames=15, fine=False), tmp_path)
    elif name == "a.jpg":
        path = tmp_path / name
        Image.effect_noise((160, 160), 90).convert("RGB").save(path, quality=95)
    source = whole(path)

    def everything() -> None:
        info = scan(source, probe(source))
        times = torch.tensor([0.8, 0.1], dtype=torch.float64) * info.duration
        with open_video(source, info=info) as reader:
            reader.frames(times)
            if info.audio:
                reader.audio(0.0, info.duration, 16000)

    Failing.reads, Failing.failure = 0, failure
    everything()
    reads = Failing.reads
    assert reads >= 4
    for count in range(reads):
        Failing.left = count
        with pytest.raises(SourceError) as caught:
            everything()
        assert caught.value.code == ("short" if failure is None else "offline"), count


def test_an_interruption_during_a_read_is_not_lost(film: Path, failing: None) -> None:
    Failing.failure = KeyboardInterrupt()
    for count in (1, 3):  # while opening, while reading packets
        Failing.left = count
        with pytest.raises(KeyboardInterrupt):
            scan(whole(film), probe(whole(film)))


def test_a_film_that_points_outside_of_its_member(film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = film.read_bytes()
    paths = [tmp_path / "hostile.mp4", film]
    paths[0].write_bytes(data)
    own, neighbour = pack(tmp_path / "x.tar", *paths).values()
    hostile = bytearray(data)
    media = data.index(b"mdat")
    length = int.from_bytes(data[media - 4 : media], "big")
    hostile[media + 4 : media - 4 + length] = bytes(length - 8)  # nothing of its own
    at = 0
    while (at := data.find(b"stco", at + 1)) >= 0:
        for place in range(at + 12, at + 12 + 4 * int.from_bytes(data[at + 8 : at + 12], "big"), 4):
            stored = int.from_bytes(data[place : place + 4], "big")
            hostile[place : place + 4] = (stored + neighbour.offset - own.offset).to_bytes(4, "big")
    paths[0].write_bytes(hostile)
    source = pack(tmp_path / "x.tar", *paths)["hostile.mp4"]

    unbounded = replace(source, member="", num_bytes=source.size_bytes - source.offset)
    with open_video(unbounded) as reader:  # what the neighbour shows
        assert [number(image) for image in reader.frames(torch.tensor([0.0, 0.4]).double())] == [0, 10]

    reads: list[tuple[int, int]] = []
    pread = os.pread

    def recorded(file: int, n: int, offset: int) -> bytes:
        reads.append((offset, offset + n))
        return pread(file, n, offset)

    monkeypatch.setattr(os, "pread", recorded)
    with pytest.raises(MediaError) as caught:
        probe(source)
    assert not isinstance(caught.value, SourceError)
    assert caught.value.code == "undecodable"
    assert min(start for start, _ in reads) >= source.offset - 512
    assert max(stop for _, stop in reads) <= source.offset + source.num_bytes


def refusal(source: Source) -> str:
    with pytest.raises(SourceError) as caught:
        open_range(source)
    assert str(source) in str(caught.value)
    return caught.value.code


def test_what_is_no_longer_as_described(film: Path, tmp_path: Path) -> None:
    copy = tmp_path / "second.mp4"
    copy.write_bytes(film.read_bytes())
    archive = tmp_path / "x.tar"
    found = pack(archive, film, copy)
    source = found["second.mp4"]
    os.utime(archive, (0, 0))  # an archive may be copied
    open_range(source).close()
    assert refusal(replace(source, size_bytes=source.size_bytes + 512)) == "changed"
    assert refusal(replace(source, member="film.mp4")) == "changed"  # of the same size
    assert refusal(replace(source, num_bytes=source.num_bytes - 1)) == "changed"
    assert refusal(replace(source, offset=source.offset + 512)) == "changed"
    assert refusal(replace(source, offset=0)) == "changed"
    assert refusal(replace(source, member="", num_bytes=source.size_bytes)) == "changed"  # beyond the end
    (tmp_path / "link.tar").symlink_to(archive)
    open_range(replace(source, path=str(tmp_path / "link.tar"))).close()
    assert refusal(replace(source, path=str(tmp_path / "none.tar"))) == "not_found"
    assert refusal(replace(source, path=str(tmp_path))) in ("not_file", "unreadable", "denied")
    os.mkfifo(tmp_path / "pipe")
    assert refusal(replace(source, path=str(tmp_path / "pipe"))) == "not_file"

    file = whole(copy)
    open_range(file).close()
    os.utime(copy, (0, 0))
    assert refusal(file) == "changed"

    held = open_range(source)
    os.truncate(archive, source.offset + 1000)
    with pytest.raises(SourceError, match="cut off after it was opened"):
        Window(held).read()
    held.close()
    with pytest.raises(SourceError, match="expected"):
        probe(source)


def in_child(info: VideoInfo, held: Range | None, results: Any) -> None:
    torch.set_num_threads(1)
    pieces = [held.pread(97, offset) for offset in range(0, 5000, 31)] if held else []
    results.put((read(info)[0].tolist(), pieces))


def test_processes_share_a_source(film: Path, tmp_path: Path) -> None:
    source = pack(tmp_path / "x.tar", film)["film.mp4"]
    info = probe(source)
    assert pickle.loads(pickle.dumps(info)) == info
    expected, data = read(info)[0].tolist(), film.read_bytes()
    held = open_range(source)  # the forked share this descriptor; the spawned open their own
    for method, count in (("fork", 3), ("spawn", 1)):
        context = multiprocessing.get_context(method)
        results = context.Queue()
        arguments = (info, held if method == "fork" else None, results)
        children = [context.Process(target=in_child, args=arguments) for _ in range(count)]
        for child in children:
            child.start()
        for frames, pieces in [results.get(timeout=120) for _ in children]:
            assert frames == expected
            assert pieces == ([data[offset : offset + 97] for offset in range(0, 5000, 31)] if method == "fork" else [])
        for child in children:
            child.join()
    held.close()


def test_without_pread(film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = pack(tmp_path / "x.tar", film)["film.mp4"]
    expected = read(probe(source))
    monkeypatch.delattr(os, "pread")
    assert equal(read(probe(source)), expected)


def test_descriptors_are_released(film: Path, tmp_path: Path) -> None:
    source = pack(tmp_path / "x.tar", film)["film.mp4"]
    (tmp_path / "x.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(100))
    broken = pack(tmp_path / "y.tar", tmp_path / "x.mp4")["x.mp4"]
    before = psutil.Process().num_fds()
    kept = []
    for _ in range(10):
        kept.append(open_video(source, info=probe(source)))
        kept[-1].audio(0.0, 1.0, 16000)
        kept[-1].close()
        assert outcome(lambda: probe(broken)) == "truncated"
    assert psutil.Process().num_fds() == before
