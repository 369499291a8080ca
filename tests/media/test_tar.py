"""The index of a tar archive: every member's own bytes, or a reason."""

from __future__ import annotations

import io
import random
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import webdataset

from avssl.media import MediaError
from avssl.media.source import Source
from avssl.media.tar import Member, members, samples, sidecars
from avssl.media.window import open_range, whole

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
FILES = {"a.mp4": b"first", "b/b.mp4": b"second" * 200, "c.mp4": b"x" * 512}
Change = Callable[[bytearray], object]


def entry(name: str, size: int, **facts: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = size
    for key, value in facts.items():
        setattr(info, key, value)
    return info


def packed(files: dict[str, bytes], form: str = "ustar", *others: tarfile.TarInfo) -> bytes:
    """An archive of some files and, between the first and the second, of other members."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=FORMATS[form]) as tar:
        for place, (name, content) in enumerate(files.items()):
            tar.addfile(entry(name, len(content)), io.BytesIO(content))
            for other in others if place == 0 else ():
                tar.addfile(other, io.BytesIO(bytes(other.size)))
    return out.getvalue()


def listed(path: Path, content: bytes | None = None) -> tuple[list[Member], Counter[str]]:
    if content is not None:
        path.write_bytes(content)
    passed: Counter[str] = Counter()
    archive = open_range(whole(path))
    try:
        return list(members(archive, str(path), passed)), passed
    finally:
        archive.close()


def contents(path: Path, found: list[Member]) -> dict[str, bytes]:
    data = path.read_bytes()
    return {member.name: data[member.offset : member.offset + member.num_bytes] for member in found}


def resummed(data: bytearray, at: int = 0) -> None:
    """Make the checksum of the header at a byte right."""
    data[at + 148 : at + 156] = b" " * 8
    data[at + 148 : at + 156] = b"%06o\0 " % sum(data[at : at + 512])


def put(place: int, value: bytes) -> Change:
    """Overwrite bytes of the first header, and correct its checksum."""

    def change(data: bytearray) -> None:
        data[place : place + len(value)] = value
        resummed(data)

    return change


@pytest.mark.parametrize("form", ["gnu", "pax"])
def test_long_names_and_other_alphabets(form: str, tmp_path: Path) -> None:
    files = {"./short.mp4": b"1", "é/日本 語.mp4": b"22", "long/" + "n" * 180 + ".mp4": b"333", "l" * 101: b"4"}
    path = tmp_path / "x.tar"
    found, passed = listed(path, packed(files, form))
    assert contents(path, found) == {name.removeprefix("./"): content for name, content in files.items()}
    assert not passed
    for member in found:  # opens, so the header before it is as expected
        open_range(member.source(whole(path))).close()


@pytest.mark.parametrize("form", ["gnu", "pax"])  # a number in base 256; a PAX record of the size
def test_a_member_beyond_8_gib(form: str, tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    size = 8**11 + 5
    after = packed({"after.mp4": b"after"})
    with path.open("wb") as file:
        file.write(entry("huge.mp4", size).tobuf(FORMATS[form]))
        start = file.tell()
        file.seek(start + -(-size // 512) * 512)  # a hole
        file.write(after)
    found, _ = listed(path)
    assert found == [Member("huge.mp4", start, size), Member("after.mp4", path.stat().st_size - len(after) + 512, 5)]
    archive = open_range(found[1].source(whole(path)))
    assert archive.pread(9, 0) == b"after"
    archive.close()


def test_what_is_no_file_or_leads_out_is_passed_over(tmp_path: Path) -> None:
    link, pipe, folder = tarfile.SYMTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE
    others = [
        entry("link", 0, type=link, linkname="/etc/passwd"),
        entry("hard", 0, type=tarfile.LNKTYPE, linkname="a.mp4"),
        entry("pipe", 0, type=pipe),
        entry("null", 0, type=tarfile.CHRTYPE),
        entry("folder", 0, type=folder),
        entry("/etc/shadow", 3),
        entry("b/../../x.mp4", 700),
        entry("b//x.mp4", 3),
        entry("bell\a.mp4", 3),
        entry("empty.mp4", 0),
    ]
    path = tmp_path / "x.tar"
    found, passed = listed(path, packed(FILES, "gnu", *others))
    assert contents(path, found) == FILES
    assert passed == {"link": 2, "pipe": 1, "device": 1, "name": 4, "empty": 1}
    assert sorted(tmp_path.iterdir()) == [path]


def compressed(kind: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=f"w:{kind}") as tar:  # type: ignore[call-overload]
        tar.addfile(entry("a", 1), io.BytesIO(b"a"))
    return out.getvalue()


def extended(records: dict[str, str], kind: bytes = b"x") -> bytes:
    """An archive that begins with a PAX header of these records."""
    body = b""
    for key, value in records.items():
        text = f" {key}={value}\n".encode()
        length = len(text) + len(str(len(text) + 2))
        body += str(length).encode() + text
    return entry("p", len(body), type=kind).tobuf() + body.ljust(-(-len(body) // 512) * 512, b"\0") + packed(FILES)


PLAIN = packed(FILES)
HOSTILE: dict[str, tuple[bytes | Change, int, str]] = {
    "gzip": (compressed("gz"), 0, "gzip"),
    "bzip2": (compressed("bz2"), 0, "bzip2"),
    "xz": (compressed("xz"), 0, "xz"),
    "no tar": (b"\0\0\0\x18ftypmp42" * 100, 0, "no header"),
    "beyond the end": (put(124, b"00000100000\0"), 0, "only"),
    "far beyond the end": (put(124, b"\x80" + bytes(3) + b"\x40" + bytes(7)), 0, "only"),
    "negative": (put(124, b"\xff" * 12), 0, "negative"),
    "too small": (put(124, b"00000000000\0"), 512, "no header"),
    "too large by a block": (put(124, b"00000001001\0"), 1536, "no header"),
    "no number": (put(124, b"0000000000x\0"), 0, "octal"),
    "checksum": (lambda data: data.__setitem__(0, ord("b")), 0, "checksum"),
    "damaged second header": (lambda data: data.__setitem__(1024, 0), 1024, "checksum"),
    "sparse": (put(156, b"S"), 0, "sparse"),
    "unknown kind": (put(156, b"Q"), 0, "unknown kind"),
    "link with data": (put(156, b"2"), 0, "link"),
    "PAX sparse": (extended({"GNU.sparse.major": "1"}), 0, "sparse"),
    "two sizes": (extended({"size": "700"}), 1024, "two sizes"),
    "size of no number": (extended({"size": "-5"}), 1024, "its size"),
    "two names": (extended({"path": "other.mp4"}), 1024, "two names"),
    "a name for all": (extended({"path": "all.mp4"}, b"g"), 0, "all members"),
    "PAX record": (bytes(extended({"comment": "x"})).replace(b"13 comment", b"99 comment"), 0, "wrong length"),
    "duplicate": (packed({"a": b"1"})[:1024] + packed({"./a": b"2"}), 1024, "second member"),
    "cut in a member": (PLAIN[:2000], 1024, "only"),
    "cut between members": (PLAIN[:1024], 1024, "cut off"),
    "two archives": (PLAIN + PLAIN, 4096, "two archives"),
    "pending name": (extended({"path": "é"})[:1024] + bytes(1024), 1024, "missing"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_archives_are_refused_with_the_place(kind: str, tmp_path: Path) -> None:
    how, at, why = HOSTILE[kind]
    data = bytearray(PLAIN)
    if callable(how):
        how(data)
    with pytest.raises(MediaError, match=f"at byte {at}: .*{why}") as caught:
        listed(tmp_path / "x.tar", bytes(data) if callable(how) else how)
    assert caught.value.code == "tar"


def test_damage_never_gives_bytes_of_another_member(tmp_path: Path) -> None:
    draw = random.Random(0)
    path = tmp_path / "x.tar"
    for form in FORMATS:
        plain = packed(
            {"a.mp4": b"\1" * 700, "n" * (90 if form == "ustar" else 130): b"\2" * 300, "c": b"\3" * 1500}, form
        )
        refused = 0
        for _ in range(80):
            data = bytearray(plain)
            for _ in range(draw.choice([1, 2, 40])):
                data[draw.randrange(len(data))] = draw.randrange(256)
            try:
                found, _ = listed(path, bytes(data))
            except MediaError:
                refused += 1
                continue
            ends = [0, *(member.offset + member.num_bytes for member in found)]
            assert all(member.offset >= end + 512 for member, end in zip(found, ends))
            assert [member.num_bytes for member in found] in ([700, 300, 1500], [300, 1500], [700, 1500], [700, 300])
        assert refused > 20


def test_samples_are_those_of_webdataset(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    with webdataset.TarWriter(str(path)) as out:
        out.write({"__key__": "d.x/one", "mp4": b"film", "json": {"label": "run", "start": 1.5}, "txt": "a man runs"})
        out.write({"__key__": "d.x/two", "mp4": b"film", "cls": 7, "left.JPG": b"picture"})
    expected = [
        {key: value for key, value in sample.items() if not key.startswith("__")} | {"key": sample["__key__"]}
        for sample in webdataset.WebDataset(str(path), shardshuffle=False)
    ]
    archive = open_range(whole(path))
    found = list(samples(members(archive, str(path))))
    data = path.read_bytes()
    assert [
        {part: data[at.offset : at.offset + at.num_bytes] for part, at in sample.parts.items()} | {"key": sample.key}
        for sample in found
    ] == expected
    first, second = (sidecars(archive, str(path), sample) for sample in found)
    assert first == {"json": {"label": "run", "start": 1.5}, "txt": "a man runs"}
    assert second == {"cls": "7"}
    archive.close()


@pytest.mark.parametrize("text", [b"{", b"\xff", b"[" * 100_000, b" " * 1_000_001])
def test_sidecars_that_say_nothing(text: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    (member,), _ = listed(path, packed({"a.json": text}))
    archive = open_range(whole(path))
    with pytest.raises(MediaError, match=r"x.tar/a.json: not a readable json") as caught:
        sidecars(archive, str(path), next(samples([member])))
    assert caught.value.code == "sidecar"
    archive.close()


def test_one_key_is_never_one_endless_sample() -> None:
    found = list(samples(Member(f"a.{number}", 0, 1) for number in range(2500)))
    assert [len(sample.parts) for sample in found] == [1000, 1000, 500]
    names = ["a.mp4", "b.mp4", "a.json", ".hidden", "plain"]
    assert [sample.key for sample in samples(Member(name, 0, 1) for name in names)] == ["a", "b", "a", *names[3:]]


def test_a_member_of_an_object_keeps_its_version() -> None:
    archive = Source("train/0.tar", store="lab", num_bytes=9999, size_bytes=9999, etag="v1")
    source = Member("a/b.mp4", 512, 77).source(archive)
    assert (source.store, source.etag, source.size_bytes) == ("lab", "v1", 9999)
    assert (source.member, source.offset, source.num_bytes) == ("a/b.mp4", 512, 77)
    assert str(source) == "lab:train/0.tar/a/b.mp4"
