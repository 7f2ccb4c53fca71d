"""Muzen: a MuZero you can install in a minute, trust, and grow with.

`import muzen` is light: jax and the rest load when a name is first used. Names that are both a
module and its one function, such as `muzen.search`, are modules that can be called:
`muzen.search(model, root, key, simulations=50)` and `from muzen.search import Gumbel` both work.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import typing

# By name: the submodule muzen.types takes the name `types` here once it is imported.
from types import ModuleType
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from muzen.agent import Agent
    from muzen.api import Run, diagnose, evaluate, load, resume, train
    from muzen.arena import arena
    from muzen.callbacks import Callback
    from muzen.check import check
    from muzen.config import Config
    from muzen.errors import MuzenError
    from muzen.plots import plot_runs as plot
    from muzen.presets import preset
    from muzen.record import record
    from muzen.search import search
    from muzen.show import show

__all__ = [
    "Agent",
    "Callback",
    "Config",
    "MuzenError",
    "Run",
    "__version__",
    "arena",
    "check",
    "diagnose",
    "evaluate",
    "load",
    "plot",
    "preset",
    "record",
    "resume",
    "search",
    "show",
    "train",
]

# public name -> where it lives
_HOMES = {
    "Agent": "muzen.agent:Agent",
    "Callback": "muzen.callbacks:Callback",
    "Config": "muzen.config:Config",
    "MuzenError": "muzen.errors:MuzenError",
    "Run": "muzen.api:Run",
    "arena": "muzen.arena:arena",
    "check": "muzen.check:check",
    "diagnose": "muzen.api:diagnose",
    "evaluate": "muzen.api:evaluate",
    "load": "muzen.api:load",
    "plot": "muzen.plots:plot_runs",
    "preset": "muzen.presets:preset",
    "record": "muzen.record:record",
    "resume": "muzen.api:resume",
    "search": "muzen.search:search",
    "show": "muzen.show:show",
    "train": "muzen.api:train",
}


class _CallableModule(ModuleType):
    """A module that, called, calls the public function of its own name."""

    def __call__(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any:
        return _public(self.__name__.rpartition(".")[2])(*args, **kwargs)

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(_public(self.__name__.rpartition(".")[2]))


class _Package(ModuleType):
    """Lets `muzen.evaluate` be the module and the function, whichever is imported first."""

    def __setattr__(self, name: str, value: object) -> None:
        # The import system binds a submodule here, and would hide the public function of that name.
        if name in _HOMES and isinstance(value, ModuleType):
            value.__class__ = _CallableModule
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def _public(name: str) -> typing.Any:
    module, _, attribute = _HOMES[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def __getattr__(name: str) -> typing.Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'muzen' has no attribute {name!r}")
    value = _public(name)
    # Loading the function may have bound the module of the same name, which is callable and comes first.
    return sys.modules[__name__].__dict__.get(name, value)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
