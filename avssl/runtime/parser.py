"""The command line's parser: one-line errors, near names, packaged configs, and configs of earlier versions."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml
from jsonargparse import ArgumentParser, DefaultHelpFormatter, get_loader, set_loader

from avssl.runtime.configs import Group, find_config
from avssl.runtime.moved import current_config, current_options

MODE = "avssl"  # jsonargparse's name for YAML under today's names


def _load(text: str) -> Any:
    return current_config(get_loader("yaml")(text))


set_loader(MODE, _load, (yaml.YAMLError,))


class Help(argparse.RawDescriptionHelpFormatter, DefaultHelpFormatter):
    """Help whose examples keep their lines, and which names types plainly."""

    def _expand_help(self, action: argparse.Action) -> str:
        return re.sub(r"<class '(\w+)'>", r"\1", super()._expand_help(action))


class Parser(ArgumentParser):
    """jsonargparse's parser with one-line errors that suggest a name for an unknown key.

    ``examples`` are command lines shown below the description.
    """

    def __init__(self, *args: Any, examples: Sequence[str] = (), **options: Any) -> None:
        shown = textwrap.fill(options.pop("description", None) or "", 88)
        shown += "".join(["\n\nexamples:" if examples else "", *(f"\n  {line}" for line in examples)])
        mine = {"allow_abbrev": False, "parser_mode": MODE, "formatter_class": Help, "description": shown}
        super().__init__(*args, **{**mine, **options})

    def instantiate(self, *args: Any, **options: Any) -> Any:
        """Build what a config names; of a constructor's error, keep its own line and no list of the types tried."""
        try:
            return super().instantiate(*args, **options)
        except ValueError as error:
            if error.__cause__ is None:
                raise
            raise ValueError(str(error.__cause__)) from error

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print the error and exit with status 2, unless jsonargparse is only trying one of several types."""
        if not self.exit_on_error:
            super().error(message, ex)
        unknown = re.search(r"(?:does not accept option|Option) '([^']+)'|unrecognized arguments: --([^ =]+)", message)
        if unknown:
            key = unknown.group(1) or unknown.group(2)
            known = {action.dest for action in self._actions}
            near = difflib.get_close_matches(key, known, n=1) or difflib.get_close_matches(
                key.rsplit(".", 1)[-1], {name.rsplit(".", 1)[-1] for name in known}, n=1
            )
            message += f" Did you mean {near[0]!r}?" if near else ""
        print(f"error: {message}", file=sys.stderr)
        raise SystemExit(2)


def config_first(words: Sequence[str], group: Group) -> list[str]:
    """Return the words of ``CONFIG --key.sub=value ...`` as jsonargparse takes them, under today's names.

    Args:
        words: the command line; the config is a path or the name of a packaged one.
        group: where a name is looked up.

    Raises:
        FileNotFoundError: if there is no such config.
        ValueError: if it is no YAML, or gives a key twice.
    """
    words = current_options(words)
    if words and not words[0].startswith("-"):
        path = find_config(words[0], group)
        refuse_duplicates(path)
        words[0] = f"--config={path}"
    return words


def refuse_duplicates(path: Path) -> None:
    """Refuse a YAML file with two equal keys, of which YAML would silently keep the last.

    Raises:
        ValueError: naming the file, the line and the key.
    """
    try:
        nodes = [yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)]
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not YAML: {error}") from error
    for node in nodes:  # grows by the nodes below
        seen: set[str] = set()
        for name, value in node.value if isinstance(node, yaml.MappingNode) else ():
            if name.value in seen:
                line = name.start_mark.line + 1
                raise ValueError(f"{path}, line {line}: {name.value!r} is given twice; delete one")
            seen.add(name.value)
            nodes.append(value)
        nodes += node.value if isinstance(node, yaml.SequenceNode) else ()
