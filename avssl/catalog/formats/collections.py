"""Collections of short files: UCF101, HMDB51, Something-Something, Diving48, Moments, LRS and VoxCeleb."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from avssl.catalog.columns import classes
from avssl.catalog.records import Rows, records
from avssl.catalog.rows import Entry, Format, Place, Settings, at_line, clean
from avssl.catalog.texts import text_lines

REFERENCE = re.compile(r"^\s*Ref(?:erence)?\s*:\s*(\S+)", re.MULTILINE)
HEAD = 4096  # characters of the text beside a clip that hold its reference


def lines_of(path: Path, settings: Settings) -> Iterator[tuple[int, str]]:
    """Yield the lines of a text that aren't empty, without blanks around them."""
    for line, text in enumerate(text_lines(path, settings.encoding), start=1):
        if text.strip():
            yield line, clean(text)


def ucf101(path: Path, settings: Settings) -> Iterator[Entry]:
    """Yield UCF101 (Soomro et al., 2012): ``Class/v_Class_g01_c01.avi [number]``.

    The class is the folder in the list; files may be elsewhere, under any suffix. Clips of a group are of one video.
    """
    for line, text in lines_of(path, settings):
        with at_line(path, line):
            found = re.fullmatch(r"(?:.*/)?([^/\s]+)/(\S+_(g\d+)_c\d+\.\w+)(?:\s+\d+)?", text)
            if found is None:
                raise ValueError(f"expected `Class/v_Class_g01_c01.avi [number]`, got {text!r}")
            yield Entry(line, (Place(found[2]),), (found[1],), group=f"{found[1]}/{found[3][1:]}", hints=(found[1],))


def hmdb51(path: Path, settings: Settings) -> Iterator[Entry]:
    """Yield HMDB51 (Kuehne et al., ICCV 2011): ``name.avi 0|1|2``, a file per class, ``CLASS_test_split1.txt``.

    Files that a split leaves unused (0) have a class like the others.
    """
    named = re.fullmatch(r"(.+)_test_split\d.*", path.stem)
    if named is None:
        raise ValueError(f"{path}: expected a list called CLASS_test_split1.txt: it says the class")
    for line, text in lines_of(path, settings):
        with at_line(path, line):
            name, _, side = text.rpartition(" ")
            if side not in ("0", "1", "2") or not name:
                raise ValueError(f"expected `name.avi 0|1|2`, got {text!r}")
            yield Entry(line, (Place(name.strip()),), (named[1],), hints=(named[1],), side=side)


def ssv2(path: Path, settings: Settings) -> Iterator[Entry]:
    """Yield Something-Something V2 (Goyal et al., ICCV 2017): JSON of ``id,label,template,placeholders``.

    The class is the template without brackets; ``label`` says what was seen. The test list has ids alone; its answers
    are lines ``id;class``.
    """
    if path.suffix.lower() != ".json":
        for line, text in lines_of(path, settings):
            with at_line(path, line):
                name, delimiter, label = (clean(part) for part in text.partition(";"))
                if not delimiter:
                    raise ValueError(f"expected `id;class`, got {text!r}")
                yield Entry(line, (Place(name),), classes({"label": label}, settings), name=name)
        return
    for line, row in records(path, settings):
        with at_line(path, line):
            template = row.get("template") or ""
            shown = {"label": template.replace("[", "").replace("]", "")}
            yield Entry(line, (Place(clean(row["id"])),), classes(shown, settings), name=clean(row["id"]))


def diving48(path: Path, settings: Settings) -> Iterator[Entry]:
    """Yield Diving48 (Li et al., ECCV 2018): JSON of ``vid_name,label``. ``Diving48_vocab.json`` is its names file."""
    for line, row in records(path, settings):
        with at_line(path, line):
            yield Entry(line, (Place(clean(row["vid_name"])),), classes({"label": row["label"]}, settings))


def moments(path: Path, settings: Settings) -> Iterator[Entry]:
    """Yield Moments in Time (Monfort et al., TPAMI 2020) and Multi-Moments, without a header.

    ``class/file.mp4,...``: the class is the folder; ``file,number,number,...``: rows have as many class numbers as they
    show; with a names file of a class per line, numbers count from 0.
    """
    for line, row in Rows(path, settings):
        with at_line(path, line):
            folder, _, name = row[0].rpartition("/")
            numbers = [field for field in row[1:] if field]
            if numbers and all(field.isdigit() for field in numbers) and (not folder or settings.names):
                yield Entry(line, (Place(row[0]),), tuple(settings.class_name(field) for field in numbers))
            elif folder and name:
                yield Entry(line, (Place(row[0]),), (folder.rpartition("/")[2],))
            else:
                raise ValueError(f"expected `class/file.mp4,...` or `file,number,...`, got {row}")


def lrs(path: Path, settings: Settings) -> Iterator[Entry]:
    """Yield LRS2 and LRS3 (Afouras et al., 2018): lines ``SPEAKER/CLIP``; what follows a blank is left out.

    The group is the video that the text beside each clip refers to (``Ref:``), else the folder.
    """
    for line, text in lines_of(path, settings):
        with at_line(path, line):
            name = text.split()[0]
            if "/" not in name:
                raise ValueError(f"expected `SPEAKER/CLIP`, got {text!r}")
            yield Entry(line, (Place(name),), group=name.split("/")[-2])


def voxceleb(path: Path, settings: Settings) -> Iterator[Entry]:
    """Yield VoxCeleb (Nagrani et al., 2017; Chung et al., 2018): a class per speaker.

    The table of speakers (``vox1_meta.csv``, which is separated by tabs), whose first column is a folder; or lines that
    end with ``SPEAKER/VIDEO/CLIP``, such as those of the verification pairs. The group is the video, a folder or the
    ``Reference`` in the text beside each clip.
    """
    for line, text in lines_of(path, settings):
        with at_line(path, line):
            clips = [word for word in text.split() if word.count("/") >= 2]
            first = re.split(r"[\t,; ]", text)[0]
            if clips:
                for clip in clips:
                    yield Entry(line, (Place(clip),), (settings.class_name(clip.split("/")[-3]),))
            elif re.fullmatch(r"id\d+", first):
                yield Entry(line, (Place(first),), (settings.class_name(first),), kind="folder")
            elif line > 1:
                raise ValueError(f"expected a speaker such as id10001, or SPEAKER/VIDEO/CLIP, got {text!r}")


def reference_of(root: Path | None, path: str) -> str | None:
    """Return the video that a clip is from: by the text beside it, else None."""
    beside = None if root is None else (root / path).with_suffix(".txt")
    if beside is None or not beside.is_file():
        return None
    with open(beside, encoding="utf-8", errors="replace") as file:
        found = REFERENCE.search(file.read(HEAD))
    return None if found is None else found[1]


def video_of(root: Path | None, path: str) -> str | None:
    """Return the video that a clip of VoxCeleb is from: by the text beside it, else its folder."""
    folders = path.split("/")[:-1]
    return reference_of(root, path) or (folders[-1] if folders else None)


FORMATS = {
    "ucf101": Format(ucf101, pattern="*list01.txt"),
    "hmdb51": Format(hmdb51, pattern="*_test_split1.txt"),
    "ssv2": Format(ssv2),
    "diving48": Format(diving48),
    "moments": Format(moments),
    "lrs": Format(lrs, group_of=reference_of),
    "voxceleb": Format(voxceleb, group_of=video_of),
}
