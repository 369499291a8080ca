"""Griffe extension that reads what a lazily loaded room exports from its ``__init__.pyi``.

The rooms import their members on first use, so there is no ``__all__`` to parse: the stub's aliases are the exports.
"""

from typing import Any

from griffe import Alias, AliasResolutionError, Extension, Module


class Exports(Extension):
    """Document exported names under their room, and only there; everything else under the module that defines it."""

    def on_package(self, *, pkg: Module, **_: Any) -> None:
        """Mark exported aliases as public and the objects behind them as private, in every module of the package."""
        for module in _modules(pkg):
            stub = module.filepath.with_suffix(".pyi") if module.is_init_module else None
            if stub is None or not stub.exists():
                continue
            for member in list(module.members.values()):
                if not isinstance(member, Alias) or not member.target_path.startswith(f"{pkg.name}."):
                    continue
                try:
                    target = member.final_target
                except AliasResolutionError:
                    continue  # a name assigned in a tuple, which griffe does not see
                if target.is_module:
                    continue  # documented as a module of its own
                member.public = True
                if module is not pkg:
                    target.public = False


def _modules(module: Module) -> list[Module]:
    """Return a module and all modules below it."""
    children = [child for child in module.members.values() if isinstance(child, Module)]
    return [module, *(found for child in children for found in _modules(child))]
