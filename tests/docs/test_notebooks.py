"""The notebooks run as they are committed, offline, within 90 seconds each on an idle core."""

import os
from pathlib import Path

import forked
import nbformat
import pytest
from jupyter_client.provisioning import local_provisioner
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[2] / "docs" / "notebooks").glob("*.ipynb"))


class Kernel(forked.Command):
    """A notebook's process, as its client knows it: forked, and on one core, which needs no workers to render."""

    stdin = stdout = stderr = None

    def __init__(self, words, cwd=None, env=None, **_):
        words = [*words, "--InteractiveShellApp.matplotlib=inline"]  # which comes with the import of matplotlib else
        super().__init__(words, cwd, {name: env[name] for name in env.keys() - {"JPY_PARENT_PID"}})
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(self.pid, list(os.sched_getaffinity(0))[-1:])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path, tmp_path, monkeypatch):
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code), f"{path}: clear its outputs"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(path.parents[2]), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setattr(local_provisioner, "launch_kernel", Kernel)
    client = NotebookClient(notebook, timeout=250, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    pictures = [output for cell in code for output in cell.outputs if "image/png" in output.get("data", {})]
    assert len(pictures) >= 2
