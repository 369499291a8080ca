"""What is wrong with a file."""

from __future__ import annotations

from pathlib import Path


class MediaError(Exception):
    """A file that can't be used, and what to do about it.

    Attributes:
        path: the file; of a `Source`, what ``VideoInfo.path`` would be.
        code: a stable lower-case word such as ``"truncated"``, for counting and for tests.
        why: the problem, with the values that show it.
        remedy: what the user can do about it.
    """

    def __init__(self, path: object, code: str, why: str, remedy: str) -> None:
        super().__init__(str(path), code, why, remedy)
        self.path, self.code, self.why, self.remedy = Path(str(path)), code, why, remedy

    def __str__(self) -> str:
        return f"{self.args[0]}: {self.why} [{self.code}]. {self.remedy}"  # as given: a `Path` shortens addresses
