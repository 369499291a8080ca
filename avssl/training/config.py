"""A YAML file and ``--key.sub=value`` overrides become the arguments of `pretrain`.

The schema is the signature of `pretrain` and of the classes that it names: a parameter is named, typed, given a default
and documented once, there.
"""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
import yaml
from jsonargparse import ArgumentError, Namespace

from avssl.media import MediaError
from avssl.media.stores import gather, make_stores
from avssl.recipe.checkpoints import steps_saved
from avssl.recipe.lengths import check_length, run_steps
from avssl.runtime.checks import check_ranges
from avssl.runtime.configs import find_config
from avssl.runtime.files import write_text
from avssl.runtime.moved import current_config
from avssl.runtime.parser import Parser, config_first
from avssl.training.loggers import continue_experiments
from avssl.training.run import RANGES, TRAINER_RANGES, pretrain, sole_writer

FREE = (  # keys that a resumed run may change
    *("recipe.checkpoint_activations", "recipe.compile"),
    *("trainer", "data.workers", "data.timeout", "data.rounds", "data.changed", "data.stores", "data.cache"),
    "data.memory_gb",
    *("measure_every", "measure_videos", "measure_share", "checkpoint_minutes", "probe", "logger"),
)
OURS = {  # arguments of Lightning's Trainer that `pretrain` decides
    *("logger", "callbacks", "plugins", "enable_checkpointing", "enable_model_summary", "default_root_dir"),
    *("enable_progress_bar", "max_epochs", "min_epochs", "min_steps", "limit_val_batches", "val_check_interval"),
    *("check_val_every_n_epoch", "num_sanity_val_steps", "use_distributed_sampler", "barebones", "fast_dev_run"),
    *("reload_dataloaders_every_n_epochs", "limit_train_batches", "accumulate_grad_batches", "max_time"),
    *("overfit_batches", "limit_test_batches", "limit_predict_batches", "inference_mode"),
}
PROBE = "--probe="


def parser() -> Parser:
    """Return the parser of ``avssl train``."""
    made = Parser(
        prog="avssl train",
        usage="avssl train CONFIG [--key.sub=value ...]",
        description="Train an encoder on unlabelled videos. CONFIG is a YAML file or the name of a packaged config "
        "(avssl configs lists them). A run that was stopped resumes when the same command is given again.",
        examples=[
            "avssl train shuffle_learn",
            "avssl train shuffle_learn --name=mine --data.root=VIDEOS --trainer.max_steps=1000",
            "avssl train --method.help=avssl.methods.ShuffleLearn    prints the keys of a class",
            "avssl train simclr --dry-run    prints parameters, memory, operations and what the loader must deliver",
        ],
        epilog="--trainer. holds the options of Lightning's Trainer: devices, precision, max_steps, ... "
        "--videos=N tells --dry-run the size of a collection that isn't here.",
    )
    made.add_argument("--config", action="config", help="a YAML file; CONFIG stands for it")
    made.add_function_arguments(pretrain, skip={"trainer"}, sub_configs=True)
    made.add_class_arguments(L.Trainer, "trainer", instantiate=False, skip=OURS)
    made.set_defaults({"trainer.precision": "auto", "trainer.log_every_n_steps": 10})
    return made


def parse(arguments: Sequence[str]) -> tuple[Parser, Namespace]:
    """Return the parser, which builds what a config names, and the checked config.

    Args:
        arguments: a config (a path or a packaged name) and overrides, ``--key.sub=value``.

    Raises:
        FileNotFoundError: if there is no such config.
        ValueError: if it gives a key twice, a value is out of range, or the settings of a store are wrong.
        SystemExit: after one line on standard error, if the config is wrong.
    """
    words = gather(config_first(arguments, "training"))
    for place, word in enumerate(words):
        if word.startswith(PROBE):
            words[place] = PROBE + str(find_config(word.removeprefix(PROBE), "evaluation"))
    made = parser()
    config = made.parse_args(words)
    del config["config"]
    make_stores(config.data.stores)  # an address with a password must not be written
    run_steps(config.trainer.max_steps, config.epochs, 1.0)
    check_length("warmup", config.warmup)
    check_ranges("", config, **RANGES)
    check_ranges("trainer", config.trainer, **TRAINER_RANGES)
    return made, config


def train(arguments: Sequence[str]) -> Any:
    """Parse arguments like `parse`, write the resolved config into the run's folder, return the metrics of `pretrain`.

    Raises:
        SystemExit: with a message, if the config is wrong or differs from that of the run that it would resume.
    """
    made, config = parse(arguments)
    resolved = made.dump(config)
    folder = Path(config.runs) / config.name
    loggers = config.logger if isinstance(config.logger, list) else [config.logger]
    continue_experiments([logger for logger in loggers if logger is not None], folder)
    torch.manual_seed(config.seed)  # the weights are drawn when the method is built
    try:
        built = made.instantiate(config)
    except ValueError as error:
        made.error(str(error))
    trainer = {name: value for name, value in built.pop("trainer").as_dict().items() if value is not None}
    with sole_writer(folder):
        _write_resolved(made, resolved, folder / "config.yaml")
        try:
            return pretrain(**built.as_dict(), trainer=trainer)
        except (MediaError, OSError, ValueError, FloatingPointError) as error:
            where = ""
            with contextlib.suppress(OSError):  # the disk may be full
                (folder / "error.txt").write_text(traceback.format_exc(), encoding="utf-8")
                where = f"\n(traceback in {folder / 'error.txt'})"
            raise SystemExit(f"error: {error}{where}") from None


def _write_resolved(made: Parser, text: str, path: Path) -> None:
    """Keep the whole config in the run's folder; refuse to resume a run that was made with another.

    Keys that the kept config lacks, because its version did not have them, count as today's defaults.
    """
    if path.exists() and steps_saved(path.parent / "checkpoints"):
        kept = path.read_text(encoding="utf-8")
        before, now = (_flat(yaml.safe_load(words)) for words in (_completed(made, kept), text))
        differing = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
        changed = [name for name in differing if name == "trainer.max_steps" or not name.startswith(FREE)]
        if changed:
            lines = "".join(f"\n  {name}: {before.get(name)} before, {now.get(name)} now" for name in changed)
            raise SystemExit(
                f"error: {path.parent} holds a run with another config:{lines}\n"
                "Choose another --name, or delete that folder to train anew. A new run begins with the encoder of that "
                f"one by --method.encoder=avssl.encoders.Avssl --method.encoder.run={path.parent}"
            )
        return
    write_text(path, text)


def _completed(made: Parser, kept: str) -> str:
    """Return a kept config with today's names and all defaults; as it is, if today's parser does not take it."""
    made.exit_on_error = False
    try:
        return str(made.dump(made.parse_string(kept)))
    except ArgumentError:
        return yaml.safe_dump(current_config(yaml.safe_load(kept)))
    finally:
        made.exit_on_error = True


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {prefix: tree}
    return {
        name: leaf for key, value in tree.items() for name, leaf in _flat(value, f"{prefix}.{key}".strip(".")).items()
    }
