from __future__ import annotations

import multiprocessing
import subprocess
import sys
import time

import pytest

from avssl.runtime.files import Journal, growing, write_text


def test_a_file_is_complete_or_as_it_was(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    write_text(path, "old")
    with pytest.raises(ZeroDivisionError), growing(path) as partial:
        assert partial.write_text("half") / 0
    with growing(path):
        pass  # writes nothing
    assert path.read_text() == "old"
    with growing(path) as partial, growing(path) as other:  # as two threads do
        partial.write_text("new")
        other.write_text("newer")
    assert path.read_text() == "new"
    assert [file.name for file in path.parent.iterdir()] == ["file.txt"]


def hold(path, remove, held):
    with Journal(path) as journal:
        journal.append("a", {"from": "holder"})
        held.set()
        time.sleep(0.5)
        if remove:
            journal.remove()


@pytest.mark.parametrize("remove", [False, True])
def test_a_journal_waits_for_its_writer_and_for_a_file_that_is_still_there(tmp_path, capsys, remove):
    path = tmp_path / "work.journal"
    held = multiprocessing.get_context("spawn").Event()
    holder = multiprocessing.get_context("spawn").Process(target=hold, args=(path, remove, held))
    holder.start()
    held.wait()
    with Journal(path) as journal:
        assert path.exists()
        assert journal.entries == ({} if remove else {"a": {"from": "holder"}})
        journal.append("b", {})
    holder.join()
    assert f"waiting for another process that writes {path}" in capsys.readouterr().err
    with open(path, "ab") as file:
        file.write(b'{"name": "c", "val')  # cut short by a kill
    with Journal(path) as journal:
        assert list(journal.entries) == (["b"] if remove else ["a", "b"])
        journal.append("d", {})
    with Journal(path) as journal:
        assert "d" in journal.entries


FULL = """
import errno, sys
from pathlib import Path
from avssl.runtime.files import DiskFull, Journal, write_text
folder = Path(sys.argv[1])
def texts():
    for number in range(200):
        write_text(folder / f"{number}.txt", "x" * 4000)
def entries():
    with Journal(folder / "work.journal") as journal:
        for number in range(200):
            journal.append(str(number), {"text": "x" * 4000})
for fill in (texts, entries):
    try:
        fill()
    except DiskFull as error:
        assert error.errno == errno.ENOSPC and error.filename == str(folder), error
        print(error)
assert not list(folder.glob("*.partial"))
"""


def test_a_full_disk_is_named_with_the_remedy(tmp_path):
    mount = ["unshare", "-Urm", "sh", "-c", 'mount -t tmpfs -o size=64k none "$0" && exec "$@"', str(tmp_path)]
    if subprocess.run([*mount, "true"], capture_output=True).returncode:
        pytest.skip("a small file system can't be mounted here")
    done = subprocess.run([*mount, sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert lines[0] == lines[1]
    assert lines[0].startswith(f"{tmp_path}: No space left on device (0.00 GB free); make room there or choose another")


def test_a_name_may_be_as_long_as_the_file_system_allows(tmp_path):
    write_text(tmp_path / ("x" * 251 + ".txt"), "long")
    assert [file.read_text() for file in tmp_path.iterdir()] == ["long"]
