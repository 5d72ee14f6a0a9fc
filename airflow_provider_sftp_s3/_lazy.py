"""Names that a package imports when they are asked for (PEP 562), so that importing the package costs nothing."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def names_from(package: str, modules: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """
    Return the `__getattr__` of a package.

    :param package: the package's name.
    :param modules: the names it has of each of its modules.
    """
    where = {name: module for module, names in modules.items() for name in names}

    def getattr_(name: str) -> Any:
        if name not in where:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{where[name]}"), name)

    return getattr_
