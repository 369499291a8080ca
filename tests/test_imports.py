from __future__ import annotations

import subprocess
import sys

import grimp


def cycles(imported: dict[str, set[str]]) -> list[list[str]]:
    """Return the strongly connected components of more than one module (Tarjan, 1972)."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []
    found = []

    def visit(module: str) -> None:
        number[module] = lowest[module] = len(number)
        path.append(module)
        for other in imported[module]:
            if other not in number:
                visit(other)
            if other in path:
                lowest[module] = min(lowest[module], lowest[other])
        if lowest[module] == number[module]:
            start = path.index(module)
            if len(path) > start + 1:
                found.append(path[start:])
            del path[start:]

    for module in imported:
        if module not in number:
            visit(module)
    return found


def test_cycles_are_found():
    assert cycles({"a": {"b"}, "b": {"c"}, "c": set(), "d": {"a"}}) == []
    assert cycles({"a": {"b"}, "b": {"c", "d"}, "c": {"b"}, "d": set()}) == [["b", "c"]]


def test_no_module_imports_itself_through_others():
    graph = grimp.build_graph("avssl", exclude_type_checking_imports=False, cache_dir=None)
    assert cycles({module: graph.find_modules_directly_imported_by(module) for module in graph.modules}) == []


def test_little_is_imported_and_nothing_that_windows_lacks():
    """One process after the other statements; other packages come before: they have their own ways on Windows."""
    code = """
import sys
import avssl
assert not {"torch", "numpy"} & set(sys.modules), "the package loads something large"

import avssl.methods.losses
rooms = tuple(f"avssl.methods.{room}" for room in ("frame", "temporal", "audiovisual"))
assert not [module for module in sys.modules if module.startswith(rooms)], "a loss loads methods"

import os, signal, filelock, lightning.pytorch, torchvision, scipy.stats, sklearn, av, cv2
for name in [name for name in sys.modules if name.startswith("avssl")]:
    del sys.modules[name]
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None
del os.sched_getaffinity, os.fork, os.getuid, signal.SIGUSR1, signal.SIGKILL
import avssl.training.run, avssl.evaluation.run, avssl.catalog.copies, avssl.synthetic.writer
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
