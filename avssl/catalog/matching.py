"""Files of a collection, found by the names that lists give them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import cached_property
from pathlib import Path

from avssl.catalog.compact import Names
from avssl.catalog.rows import Entry, Place, clean

CLIP = re.compile(r"_[0-9]{5}$")  # number of a clip that video2dataset cuts


class Places:
    """The files of a collection by path, by file name, by name without suffix, by webdataset key and by folder.

    Args:
        paths: files relative to ``root``, with forward slashes; members of a tar are below its name.
        root: folder of the collection, for absolute names in a list.
    """

    def __init__(self, paths: Sequence[str], root: Path | None = None) -> None:
        self._paths, self._root = paths, root

    def _parts(self, index: int) -> list[str]:
        return clean(self._paths[index]).split("/")

    def _named(self, names_of: Callable[[list[str]], Iterable[Hashable]]) -> Names:
        return Names(self._paths, lambda path: names_of(clean(path).split("/")))

    @cached_property
    def _by_path(self) -> Names:
        return Names(self._paths, lambda path: (clean(path),))

    @cached_property
    def _by_name(self) -> Names:
        return self._named(lambda parts: (parts[-1],))

    @cached_property
    def _by_stem(self) -> Names:
        return self._named(lambda parts: (stem(parts[-1]),))

    @cached_property
    def _by_key(self) -> Names:
        return self._named(lambda parts: (key_of(parts[-1])[0],))

    @cached_property
    def _by_recording(self) -> Names:
        return self._named(lambda parts: (CLIP.sub("", stem(parts[-1])),))

    @cached_property
    def _by_folder(self) -> Names:
        return self._named(lambda parts: set(parts[:-1]))

    @cached_property
    def _by_two(self) -> Names:
        """By the last folder and the file name, and by the last folder and the stem."""
        return self._named(lambda parts: {(parts[-2], name) for name in _called(parts)} if len(parts) > 1 else ())

    @cached_property
    def _loose(self) -> Names:
        """Files that are in no folder, by name and by stem."""
        return self._named(lambda parts: _called(parts) if len(parts) == 1 else ())

    def _candidates(self, parents: Sequence[str], last: str) -> list[int]:
        """Return the files whose folders don't contradict a name; a file in no folder contradicts none."""
        if parents:
            found = [*self._by_two.get((parents[-1], last)), *self._loose.get(last)]
            found = [index for index in found if _agree(parents, self._parts(index)[:-1])]
        else:
            found = [*self._by_stem.get(last), *self._by_name.get(last)]
        named = [index for index in found if self._parts(index)[-1] == last]
        return named or list(dict.fromkeys(found))

    def beside(self, file: Path) -> str:
        """Return what a list's own folder is called within the collection, with a slash; empty if it is outside."""
        if self._root is None or not file.parent.is_relative_to(self._root):
            return ""
        return "".join(f"{part}/" for part in file.parent.relative_to(self._root).parts)

    def find(self, entry: Entry, beside: str = "") -> tuple[Place, list[int]] | None:
        """Return the name of an entry's file that exists, and the positions of the files that it means.

        Args:
            entry: a row of a list.
            beside: what paths may begin with that are relative to the list, from :meth:`beside`.

        Raises:
            ValueError: if a name means one file and several fit; the message names two.
        """
        if entry.kind == "file":
            for place in entry.places:
                position = self._position(place.name, entry.hints, beside)
                if position is not None:
                    return place, [position]
            return None
        for place in entry.places:
            *parents, last = clean(place.name).split("/")
            if entry.kind == "folder":
                found = self._by_folder.get(last)
            elif entry.kind == "clips":
                found = self._by_stem.get(last) or self._by_recording.get(last)
            else:
                found = self._by_key.get(key_of(last)[0])
            if entry.kind != "folder":
                found = [index for index in found if _agree(parents, self._parts(index)[:-1])]
            if found:
                return place, found
        return None

    def _position(self, given: str, hints: tuple[str, ...], beside: str) -> int | None:
        name = clean(given)
        if name.startswith((".", "/", "\\")) or "//" in name or "/." in name or ":" in name:
            if "://" in name:
                return None
            name = _relative(name, self._root)
            if name.startswith("../"):
                return None
        exact = self._by_path.get(name) or (self._by_path.get(beside + name) if beside else [])
        position = exact[-1] if exact else None
        if position is None:
            position = self._by_parts(name.split("/"), hints)
        if position is None and "\\" in name:
            position = self._by_parts(name.split("\\"), hints)
        return position

    def _by_parts(self, parts: Sequence[str], hints: tuple[str, ...]) -> int | None:
        """Find the file whose path ends like the name, or the name like its path; another suffix is a copy's."""
        *parents, last = parts
        for key in dict.fromkeys((last, stem(last))):
            found = self._candidates(parents, key)
            if len(found) > 1 and hints:
                folders = {_folded(hint) for hint in hints}
                matching = [sum(_folded(part) in folders for part in self._parts(index)[:-1]) for index in found]
                found = [index for index, count in zip(found, matching, strict=True) if count == max(matching)]
            if len(found) > 1:
                first, second = (clean(self._paths[index]) for index in found[:2])
                raise ValueError(f"{'/'.join(parts)!r} fits both {first} and {second}. Give paths, or remove one")
            if found:
                return found[0]
        return None


def _called(parts: Sequence[str]) -> set[str]:
    return {parts[-1], stem(parts[-1])}


def stem(name: str) -> str:
    """Return a file name without its last suffix; a number is none (``P01_1.5``)."""
    base, dot, suffix = name.rpartition(".")
    return base if base and dot and suffix and not suffix.isdigit() else name


def key_of(name: str) -> tuple[str, str]:
    """Split a webdataset member's name into key and suffix, at the first dot of its last part.

    Folders belong to the key, as webdataset has it.
    """
    folder, slash, last = name.rpartition("/")
    key, _, suffix = last.partition(".")
    return folder + slash + key, suffix


def _agree(parents: Sequence[str], folders: Sequence[str]) -> bool:
    """Return whether one of two sequences of folders ends with the other."""
    return all(one == other for one, other in zip(reversed(parents), reversed(folders), strict=False))


def _folded(folder: str) -> str:
    return folder.replace(" ", "_").casefold()


def _relative(name: str, root: Path | None) -> str:
    """Return a listed path relative to the collection, with forward slashes."""
    if os.path.isabs(name) and root is not None:
        name = os.path.relpath(name, root)
    return os.path.normpath(name).replace(os.sep, "/")
