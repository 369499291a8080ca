"""Threads of the libraries for linear algebra and OpenMP."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]


def threads(limit: int | None) -> AbstractContextManager[Any]:
    """Return a context in which the libraries that were loaded at the first call use so many threads; None: as before.

    `threadpoolctl.threadpool_limits` looks for the libraries in each call, which takes longer than many a fit.
    """
    limited: AbstractContextManager[Any] = _libraries().limit(limits=limit)
    return limited


@cache
def _libraries() -> Any:
    return ThreadpoolController()
