"""Stand-ins for LangSmith's modules while tracing is off: to load them takes a third of a short command.

LangChain imports a few names of langsmith for its tracers, and asks before each run whether to trace. The
stand-ins have those names. Any other name comes from the real module, which is loaded then.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from collections import defaultdict
from types import ModuleType
from typing import Any

PACKAGE = "langsmith"
CHECKED = {"langsmith": "0.15.1", "langchain-core": "1.8.3", "langgraph": "1.2.24"}
"""The versions that NAMES was checked with. With others LangSmith is loaded, which takes longer."""


class _Class(type):
    """The type of a class that is loaded when it is used."""

    def __call__(cls, *arguments: Any, **fields: Any) -> Any:
        return _loaded(cls)(*arguments, **fields)

    def __getattr__(cls, name: str) -> Any:
        return getattr(_loaded(cls), name)

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _loaded(cls))


class RunTree(metaclass=_Class):
    """A traced run. All tracers of LangChain make them, also those that send nothing to LangSmith."""

    _module = "run_trees"
    model_dump = None  # LangChain checks that it exists


class Client(metaclass=_Class):
    """The client that sends traces."""

    _module = "client"


class LangSmithError(Exception):
    """Never raised: nothing is sent."""


class _Module(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(_load(self.__name__), name)


def _no_context(*_: Any) -> defaultdict[str, None]:
    return defaultdict(lambda: None)


def _nothing(*_: Any, **__: Any) -> None: ...


def _no(*_: Any) -> bool:
    return False


NAMES: dict[str, dict[str, Any]] = {
    "run_trees": {"RunTree": RunTree, "configure": _nothing},
    "run_helpers": {
        "get_tracing_context": _no_context,
        "get_current_run_tree": _nothing,
        "_set_tracing_context": _nothing,
    },
    "utils": {"tracing_is_enabled": _no, "LangSmithError": LangSmithError},
    "client": {"Client": Client},
    "address": {},
}
"""The names that LangChain and LangGraph use of each module while nothing is traced."""


def leave_out_langsmith() -> None:
    """Put the modules of NAMES in place of the real ones; not if one is loaded, or a version is unknown."""
    if any(_full_name(name) in sys.modules for name in NAMES) or not _is_checked():
        return
    package = importlib.import_module(PACKAGE)
    for name, contents in NAMES.items():
        module = sys.modules[_full_name(name)] = _Module(_full_name(name))
        vars(module).update(contents)
        setattr(package, name, module)


def _is_checked() -> bool:
    return all(importlib.metadata.version(name) == version for name, version in CHECKED.items())


def _full_name(name: str) -> str:
    return f"{PACKAGE}.{name}"


def _loaded(cls: type) -> Any:
    return getattr(_load(_full_name(vars(cls)["_module"])), cls.__name__)


def _load(full_name: str) -> ModuleType:
    """The real module; LangSmith stays switched off."""
    package = importlib.import_module(PACKAGE)
    for name in NAMES:
        if isinstance(sys.modules.get(_full_name(name)), _Module):
            del sys.modules[_full_name(name)]
            delattr(package, name)
    module = importlib.import_module(full_name)
    package.configure(enabled=False)
    return module
