"""Collections of millions of rows are handled in batches of columns; how these are cut changes nothing."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from avssl.catalog import asked, compact, found, index, joining, known, summary
from avssl.catalog.compact import Builder, Names
from avssl.catalog.index import build_index
from avssl.catalog.measuring import Row, Span
from avssl.catalog.summary import summarise


class Here(Executor):
    """Works at once, in this process."""

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **options: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(function(*arguments, **options))
        return done


def made_up(place: Path, motion: bool, spans: list[Span], hashing: str) -> list[Row]:
    row = {"duration": 1.0, "fps": 25.0, "height": 4, "width": 6, "vfr": False, "backends": [], "status": "ok"}
    bad = {"status": "rejected", "reason": "outside: it begins after the end"}
    return [{**row, "content": place.name[:2] * 32} if span is None or span[0] != 3 else bad for span in spans]


def test_rows_are_taken_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compact, "TOGETHER", 7)
    schema = pa.schema([("number", pa.int64()), ("name", pa.string())])
    builder, rows = Builder(schema), [(number, None if 14 <= number < 21 else f"n{number}") for number in range(40)]
    for row in rows:
        builder.add(row)
    batches, draw = builder.build(), np.random.default_rng(0)
    assert len(batches) == 40
    assert list(batches.rows()) == rows == [batches.row(place) for place in range(40)]
    for places in (np.arange(40), np.arange(3, 30), draw.integers(-1, 40, 100), np.array([-1, -1]), np.array([], int)):
        taken = batches.take(places)
        assert taken.schema == schema
        assert [tuple(row.values()) for row in taken.to_pylist()] == [
            rows[place] if place >= 0 else (None, None) for place in places
        ]


def test_names_whose_hashes_are_equal_are_told_apart() -> None:
    class Alike(str):
        __slots__ = ()

        def __hash__(self) -> int:
            return len(self)

    things = [Alike(text) for text in ("ab", "cd", "ab", "e")]
    names = Names(things, lambda thing: (thing,))
    assert [names.get(Alike(text)) for text in ("ab", "cd", "ef", "e", "xyz")] == [[0, 2], [1], [], [3], []]


def test_batches_change_neither_manifest_nor_messages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A list in disorder, with repeated, joined, misnamed and absent rows, as one batch and as many."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    draw = random.Random(0)
    names = [f"{'ab-'[number % 3]}/r{number:03d}.mp4" for number in range(30)]
    for name in names:
        path = tmp_path / "videos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, ns=(5, 5))
    rows = [
        f"{name},{start},{start + 1},c{draw.randrange(4)},id{(7 * place + start) // 2}"
        for place, name in enumerate(names)
        for start in range(4)
    ]
    rows += draw.sample(rows, 9)
    rows += [",".join([*row.split(",")[:3], "other", row.split(",")[4]]) for row in draw.sample(rows, 9)]
    rows += [f"gone{number % 5},0,1,c0,gone{number}" for number in range(9)] + [f"{names[0]},2,1,c0,never"]
    draw.shuffle(rows)
    (tmp_path / "list.csv").write_text("\n".join(["path,start,stop,labels,name", *rows]))

    def made(what: str) -> tuple[bytes, str, str, str]:
        out = tmp_path / what / "out.parquet"
        manifest = build_index(tmp_path / "videos", out, tmp_path / "list.csv", executor=Here(), measure=made_up)
        missing = out.with_name("out.parquet.missing.txt").read_text()
        told = capsys.readouterr().err.replace(f"/{what}/", "/")
        return out.read_bytes(), summarise(manifest), missing, told

    expected = made("one")
    assert "rows repeat an earlier one" in expected[3]
    assert "rows have the id of an earlier one" in expected[3]
    assert expected[2].split() == list(dict.fromkeys(row.split(",")[0] for row in rows if row.startswith("gone")))
    for module in (asked, compact, found, joining, known, summary):
        monkeypatch.setattr(module, "TOGETHER", 7)
    assert made("two") == expected
    monkeypatch.setattr(index, "ROWS_TOGETHER", 7)  # which the file shows
    assert made("three")[1:] == expected[1:]
