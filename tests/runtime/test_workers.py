from __future__ import annotations

import os
import resource
import signal
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest
import torch

from avssl.runtime.workers import Failure, keep_memory, run_parallel


def behave(how: str) -> str:
    if how == "hang":
        signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))  # as a native decoder: only SIGKILL ends it
        time.sleep(600)
    if how == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if how == "exit":
        os._exit(3)
    if how == "raise":
        raise IndexError("tuple index out of range")
    if how == "late":
        raise TimeoutError("the disk took too long")
    return how.upper()


def test_a_bad_item_costs_that_item_and_is_named():
    items = ["a", "hang", "b", "crash", "exit", "raise", "late", *"cdefgh"]
    started = time.monotonic()
    results = dict(run_parallel(behave, items, workers=2, timeout=2.0))
    assert time.monotonic() - started < 60
    failures = {items[i]: result for i, result in results.items() if isinstance(result, Failure)}
    assert {name: failure.code for name, failure in failures.items()} == {
        "hang": "timeout",
        "crash": "crashed",
        "exit": "crashed",
        "raise": "error",
        "late": "error",
    }
    assert "2 s" in failures["hang"].why
    assert "exit code 3" in failures["exit"].why
    assert failures["raise"].why == "IndexError: tuple index out of range"
    assert {items[i]: result for i, result in results.items() if items[i] not in failures} == {
        name: name.upper() for name in "abcdefgh"
    }


@pytest.mark.parametrize("kind", [ThreadPoolExecutor, ProcessPoolExecutor])
def test_any_executor_will_do(kind):
    with kind(2) as executor:
        results = dict(run_parallel(behave, ["a", "raise", "b"], executor=executor))
    assert (results[0], results[2]) == ("A", "B")
    assert results[1].code == "error"
    with kind(1) as executor, pytest.raises(ValueError, match="timeout"):
        list(run_parallel(behave, ["a"], timeout=1.0, executor=executor))


def test_nothing_to_do_and_no_workers():
    assert list(run_parallel(behave, [])) == []
    with pytest.raises(ValueError, match="workers=0"):
        list(run_parallel(behave, ["a"], workers=0))


def fresh_pages(keep: bool) -> int:
    """Pages that the system clears while tensors of 40 MB are made and freed."""
    if keep:
        keep_memory()
    for _ in range(20):
        torch.ones(10_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(10_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(sys.platform != "linux", reason="only GNU's C library is told")
def test_freed_memory_is_used_again():
    pages = dict(run_parallel(fresh_pages, [False, True], workers=2))
    assert pages[1] < pages[0] / 5
