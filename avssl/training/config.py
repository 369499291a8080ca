"""A YAML file and ``--key.sub=value`` overrides to the arguments of `pretrain`.

The schema is the signature of `pretrain` and of the classes it names: a parameter is named, typed, defaulted and
documented once, there.
"""

from __future__ import annotations

import difflib
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import lightning.pytorch as L
import torch
import yaml
from jsonargparse import ArgumentParser, Namespace

from avssl.media import MediaError
from avssl.runtime.files import write_text
from avssl.training.checkpoints import steps_saved
from avssl.training.run import pretrain

FREE = ("trainer", "data.workers", "data.timeout", "data.rounds", "measure_every", "checkpoint_minutes", "probe")
OURS = {  # what `pretrain` decides, of the arguments of Lightning's Trainer
    *("logger", "callbacks", "plugins", "enable_checkpointing", "enable_model_summary", "default_root_dir"),
    "enable_progress_bar",
    *("max_epochs", "min_epochs", "min_steps", "limit_val_batches", "val_check_interval", "check_val_every_n_epoch"),
    *("num_sanity_val_steps", "use_distributed_sampler", "reload_dataloaders_every_n_epochs", "barebones"),
    *(
        "fast_dev_run",
        "limit_train_batches",
        "accumulate_grad_batches",
        "max_time",
        "overfit_batches",
        "limit_test_batches",
        "limit_predict_batches",
        "inference_mode",
    ),
}


class Parser(ArgumentParser):
    """jsonargparse's parser, which suggests a name for a key it does not know."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print what is wrong and exit with status 2, unless jsonargparse only tries one of several types."""
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


def parser() -> Parser:
    """The parser of ``tools/train.py``."""
    made = Parser(
        prog="train.py",
        allow_abbrev=False,
        description="Train an encoder on unlabelled videos: train.py CONFIG [--key.sub=value ...]",
        epilog="Lightning's own options (devices, precision, max_steps, ...) are under --trainer.",
    )
    made.add_argument("--config", action="config", help="a YAML file; given as the first argument, without --config")
    made.add_function_arguments(pretrain, skip={"trainer"}, sub_configs=True)
    made.add_class_arguments(L.Trainer, "trainer", instantiate=False, skip=OURS)
    made.set_defaults({"trainer.precision": "auto", "trainer.log_every_n_steps": 10})
    return made


def parse(arguments: Sequence[str]) -> tuple[Parser, Namespace]:
    """A config file and overrides to the checked config, and the parser that can build what it names.

    Raises:
        SystemExit: with a message, where the config is wrong.
    """
    words = list(arguments)
    if words and not words[0].startswith("-"):
        _refuse_duplicates(Path(words[0]))
        words[0] = f"--config={words[0]}"
    made = parser()
    config = made.parse_args(words)
    del config["config"]
    steps = config.trainer.max_steps
    if steps is None or steps < 1:
        made.error("trainer.max_steps: the number of steps of the run is missing")
    return made, config


def run(arguments: Sequence[str]) -> Any:
    """Parse, check, write the resolved config into the run's folder, and train.

    Raises:
        SystemExit: with a message, where the config is wrong or does not fit the run that it would go on with.
    """
    made, config = parse(arguments)
    folder = Path(config.runs) / config.name
    _write_resolved(made, config, folder / "config.yaml")
    torch.manual_seed(config.seed)  # the weights are drawn when the method is built
    try:
        built = made.instantiate(config)
    except ValueError as error:
        made.error(str(error.__cause__ or error))
    trainer = {name: value for name, value in built.pop("trainer").as_dict().items() if value is not None}
    try:
        return pretrain(**built.as_dict(), trainer=trainer)
    except (MediaError, OSError, ValueError) as error:
        (folder / "error.txt").write_text(traceback.format_exc(), encoding="utf-8")
        raise SystemExit(f"error: {error}\n(where it came from: {folder / 'error.txt'})") from None


def _refuse_duplicates(path: Path) -> None:
    """YAML keeps the last of two equal keys without a word; a config must not."""
    if not path.is_file():
        raise SystemExit(f"error: {path}: there is no such config")

    def visit(node: yaml.Node) -> None:
        if isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for name, value in node.value:
                if name.value in seen:
                    line = name.start_mark.line + 1
                    raise SystemExit(f"error: {path}, line {line}: {name.value!r} is given twice; delete one")
                seen.add(name.value)
                visit(value)
        elif isinstance(node, yaml.SequenceNode):
            for item in node.value:
                visit(item)

    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise SystemExit(f"error: {path}: not YAML: {error}") from error
    if root is not None:
        visit(root)


def _write_resolved(made: Parser, config: Namespace, path: Path) -> None:
    """Keep the whole config beside the run; refuse to go on with a run that was made by another."""
    text = made.dump(config, skip_none=True)
    if path.exists() and steps_saved(path.parent / "checkpoints"):
        before, now = (_flat(yaml.safe_load(words)) for words in (path.read_text(encoding="utf-8"), text))
        changed = sorted(
            name
            for name in before.keys() | now.keys()
            if before.get(name) != now.get(name) and (name == "trainer.max_steps" or not name.startswith(FREE))
        )
        if changed:
            lines = "".join(f"\n  {name}: {before.get(name)} before, {now.get(name)} now" for name in changed)
            raise SystemExit(
                f"error: {path.parent} holds a run with another config:{lines}\n"
                "Choose another --name, or delete that folder to train anew"
            )
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {prefix: tree}
    return {
        name: leaf for key, value in tree.items() for name, leaf in _flat(value, f"{prefix}.{key}".strip(".")).items()
    }
