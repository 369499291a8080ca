from __future__ import annotations

import multiprocessing
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
