"""Tables as people write them, and how the files that they name are found."""

import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from avssl.catalog.listing import read_list
from avssl.catalog.names import read_names
from avssl.catalog.rows import Asked, seconds
from avssl.catalog.texts import json_items
from avssl.cli.index import parse_columns

RUN = {0: [Asked(labels=("run",))], 1: [Asked(labels=("run",))]}


def write(folder, name, data):
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    return folder / name


def match(table, paths, /, **columns):
    return read_list(table, columns=columns).match(paths, table.parent)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("plain.csv", "path,label\n1.mp4,run\n2.mp4, run\n"),
        ("spreadsheet.csv", "\ufeffpath;label\r\n1.mp4;run \r\n\r\n 2.mp4;\u00a0run\r\n"),
        ("utf16.csv", "path,label\r\n1.mp4,run\r\n2.mp4,run\r\n".encode("utf-16")),
        ("tabs.tsv", "# made by hand\npath\tlabel\n1.mp4\trun\n# 3.mp4\tjump\n2.mp4\trun\n"),
        ("quoted.csv", 'label, path\n"run" ,"1.mp4"\nrun,  "2.mp4"\n'.replace('" ,', '",')),
        ("trailing.csv", "path,label\n1.mp4,run,,\n2.mp4,run,\n"),
        ("lines.jsonl", '{"path": "1.mp4", "label": "run"}\n\n{"label": " run", "path": "2.mp4"}\n'),
        ("array.json", json.dumps([{"path": "1.mp4", "label": "run"}, {"path": "2.mp4", "label": ["run"]}], indent=1)),
    ],
)
def test_tables_in_all_forms_say_the_same(tmp_path, name, data):
    assert match(write(tmp_path, name, data), ["a/1.mp4", "2.mp4"]).asked == RUN


def test_parquet_and_ids_as_keys(tmp_path):
    rows = {"path": ["1.mp4", "2.mp4"], "label": ["run", "run"], "video": [b"x" * 9, b"y"]}
    pq.write_table(pa.table(rows), tmp_path / "t.parquet")
    assert match(tmp_path / "t.parquet", ["1.mp4", "2.mp4"]).asked == RUN
    keyed = write(tmp_path, "k.json", json.dumps({"1": {"c": "run", "t": 2}, "2": {"c": "run", "t": 3}}))
    assert match(keyed, ["1.mp4", "2.webm"], path="id", label="c").asked == RUN
    with pytest.raises(ValueError, match=r"k\.json: no record has \['class'\]; the records have \['c', 'id', 't'\]"):
        match(keyed, ["1.mp4"], path="id", label="class")


def test_latin_1_is_read_only_if_it_is_declared(tmp_path):
    table = write(tmp_path, "l.csv", "path,label\n1.mp4,dîner\n".encode("latin-1"))
    found = match(table, ["1.mp4"], path="path", label="label", encoding="latin-1")
    assert found.asked[0][0].labels == ("dîner",)
    assert "(read as table, in latin-1)" in found.notes[0]
    with pytest.raises(ValueError, match="there is no such encoding"):
        match(table, ["1.mp4"], path="path", encoding="latin-77")


def test_declared_columns_units_and_separators(tmp_path):
    table = write(tmp_path, "t.csv", "f,t0,t1,c\n1,1500,2250,a|b\n1,2250,4001,\n")
    columns = parse_columns("path=f,start=t0,stop=t1,labels=c,unit=ms,separator=|")
    assert match(table, ["1.mp4"], **columns).asked == {
        0: [Asked(None, 1.5, 2.25, ("a", "b")), Asked(None, 2.25, 4.001, ())]
    }
    table = write(tmp_path, "h.csv", "1.mp4,00:01.5,2:00:00.25\n")
    assert match(table, ["1.mp4"], path="1", start="2", stop="3", header="no").asked == {0: [Asked(None, 1.5, 7200.25)]}
    table = write(tmp_path, "d.csv", "path,start,length\n1.mp4,2,0.5\n")
    assert match(table, ["1.mp4"], path="path", start="start", duration="length").asked == {0: [Asked(None, 2.0, 2.5)]}
    names = write(tmp_path, "n.txt", "0 walk, slowly\n1 run\n")
    table = write(tmp_path, "i.csv", "path,label\n1.mp4,1\n2.mp4,0\n")
    found = match(table, ["1.mp4", "2.mp4"], path="path", label="label", names=str(names))
    assert [rows[0].labels for rows in found.asked.values()] == [("run",), ("walk, slowly",)]
    assert parse_columns("separator=,,names=a,b.csv,names=c") == {"separator": ",", "names": ["a,b.csv", "c"]}
    for text, why in (("path", "expected key=column"), ("path=a,path=b", "given twice")):
        with pytest.raises(ValueError, match=why):
            parse_columns(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("path,start,stop\n1.mp4,x,2\n", r"line 2: 'x' is no time; expected a number or HH:MM:SS"),
        ("path,start,stop\n1.mp4,nan,2\n", r"line 2: 'nan' is no time"),
        ("path,start,stop\n1.mp4,1,\n", r"line 2: start '1' and stop '': give both"),
        ("path,label\n1.mp4\n", r"line 2: 1 fields, but there are 2 columns"),
        ("path,label,path\n1.mp4,a,b\n", r"line 1: two columns are called 'path'"),
        ("path,label\n,a\n", r"line 2: it names no file"),
        ("path,label\n3.mp4,a\n", r"line 2: '3\.mp4' fits both a/3\.mp4 and b/3\.mp4"),
        ('path,label\n1.mp4,"a" b\n', r"line 2: .* expected after"),
    ],
)
def test_errors_name_the_line(tmp_path, text, why):
    with pytest.raises(ValueError, match=r"t\.csv, " + why):
        match(write(tmp_path, "t.csv", text), ["1.mp4", "a/3.mp4", "b/3.mp4"])


def test_names_find_files(tmp_path):
    paths = [
        "train/a/1.mp4",
        "val/a/1.mp4",
        "-x.avi",
        "shard.tar/cafe\u0301.mp4",
        "x/both.avi",
        "x/both.mp4",
        "v.2.mkv",
    ]

    def found(name):
        asked = match(write(tmp_path, "t.csv", f"path,label\n{name},c\n"), paths).asked
        return [paths[index] for index in asked]

    assert found("val/a/1.avi") == ["val/a/1.mp4"]  # a copy in another container
    assert found("data/train/a/1.mp4") == ["train/a/1.mp4"]  # a list of a folder above
    assert found("a\\2.mp4") == []
    assert found("val\\a\\1.mp4") == ["val/a/1.mp4"]
    assert found(str(tmp_path / "-x.avi")) == found("-x") == ["-x.avi"]
    assert found("café.mp4") == ["shard.tar/cafe\u0301.mp4"]
    assert found("x/both.mp4") == ["x/both.mp4"]
    assert found("v.2") == found("v.2.mp4") == ["v.2.mkv"]
    assert found("../-x.avi") == found("s3://b/-x.avi") == found("other/a/1.mp4") == []
    for name in ("x/both", "a/1.mp4"):
        with pytest.raises(ValueError, match="fits both"):
            found(name)


def test_repeated_rows_and_ids_are_told(tmp_path):
    text = "path,start,stop,label,name\n1,0,1,a,n\n1,0,1,a,n\n1,0,1,b,m\n1,1,2,a,n\n2,5,5,a,o\n3,0,1,a,p\n"
    found = match(write(tmp_path, "t.csv", text), ["1.mp4", "2.mp4"])
    assert [row[:4] for row in found.asked[0]] == [("n", 0, 1, ("a",)), ("m", 0, 1, ("b",)), (None, 1, 2, ("a",))]
    assert (found.num_rows, found.num_repeated, found.missing, list(found.asked)) == (6, 1, ["3"], [0])
    assert found.notes[1:] == [
        "1 listed files are not in the collection, such as 3",
        f"1 rows ask for nothing and are left out, such as {tmp_path / 't.csv'}, line 6: 5 to 5 s of 2: empty",
        "1 rows repeat an earlier one and are left out",
        "1 rows have the id of an earlier one, such as n: they go without",
    ]


def test_times_are_exact():
    for _ in range(2000):
        number = random.Random(_).randrange(36_000_000)
        whole, hundredths = divmod(number, 100)
        minutes, rest = divmod(whole, 60)
        exact = float(f"{whole}.{hundredths:02d}")
        assert seconds(f"{minutes // 60:02d}:{minutes % 60:02d}:{rest:02d}.{hundredths:02d}") == exact
        assert seconds(str(number * 10), "ms") == exact


def test_large_json_is_read_a_value_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr("avssl.catalog.texts.CHUNK", 7)
    rows = {f"k{number}": {"a": [number, 1.25e3, 'é"}]', None], "b": {}} for number in range(40)}
    for indent in (None, 1):
        file = write(tmp_path, "x.json", json.dumps(rows, indent=indent))
        assert {key: value for _, key, value in json_items(file)} == rows
        file = write(tmp_path, "y.json", json.dumps([*rows.values(), 12, 345], indent=indent))
        assert [value for _, _, value in json_items(file)] == [*rows.values(), 12, 345]
    assert list(json_items(write(tmp_path, "z.json", " [ ]"))) == []
    for text, why in (
        ("[1, 2", "after record 1: not JSON"),
        ('{"a" 1}', 'expected `"name": value`'),
        ("[1 2]", "expected `,`"),
        ("3", "an array or an object"),
    ):
        with pytest.raises(ValueError, match=r"z\.json.*" + why):
            list(json_items(write(tmp_path, "z.json", text)))


def test_names_of_classes(tmp_path):
    for name, text in (
        ("a.csv", "id,key\n0,run\n1,jump\n"),
        ("b.csv", "run,0\njump,1\n"),
        ("c.txt", "run\njump\n"),
        ("d.txt", "0 run\n1 jump\n"),
        ("e.json", '{"run": 0, "jump": 1}'),
        ("f.json", '["run", "jump"]'),
        ("g.pbtxt", 'item {\n  name: "run"\n  id: 0\n}\nitem { id: 1 name: "jump" }\n'),
    ):
        assert read_names(write(tmp_path, name, text)) == {"0": "run", "1": "jump"}, name
    with pytest.raises(ValueError, match=r"class '0' has two names: 'run' and 'jump'"):
        read_names(write(tmp_path, "h.csv", "id,name\n0,run\n0,jump\n"))


def test_absolute_and_neighbouring_paths(tmp_path):
    (tmp_path / "sub").mkdir()
    table = write(tmp_path, "sub/t.csv", "path,label\n1.mp4,run\n")
    assert list(read_list(table).match(["1.mp4", "sub/1.mp4"], tmp_path).asked) == [0]  # a path is a path first
    assert list(read_list(table).match(["other/1.mp4", "sub/1.mp4"], tmp_path).asked) == [1]
    assert list(read_list(table).match([Path("other/1.mp4").as_posix()], tmp_path).asked) == [0]
