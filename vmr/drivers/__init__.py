"""Drivers, and how they are found: in this folder, and in the entry point group ``vmr.drivers`` of packages.

A driver is a class that inherits from `vmr.abstract_driver.AbstractDriver` and implements all of it. An entry point
names a driver, or a module that holds some::

    [project.entry-points."vmr.drivers"]
    my-hypervisor = "my_package.driver:MyDriver"
"""

from __future__ import annotations

import importlib
import pkgutil
from importlib.metadata import EntryPoint, entry_points
from inspect import isabstract
from types import ModuleType
from typing import Any, Final

import structlog

from vmr.abstract_driver import AbstractDriver
from vmr.errors import InvalidInputError

logger = structlog.get_logger(__name__)

GROUP: Final = "vmr.drivers"
"""The entry point group."""


def is_driver(candidate: object) -> bool:
    """Return whether ``candidate`` is a driver class that can be used."""
    return isinstance(candidate, type) and issubclass(candidate, AbstractDriver) and not isabstract(candidate)


def available_drivers() -> set[type[AbstractDriver]]:
    """Return every driver class of this folder and of the entry points.

    One that cannot be imported is logged and left out.
    """
    found: set[type[AbstractDriver]] = set()
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        found |= _drivers_in(importlib.import_module(module.name))
    for point in entry_points(group=GROUP):
        found |= _drivers_in(_load(point))
    return found


def find_driver(engine: str) -> type[AbstractDriver]:
    """Return the driver for the virtualization engine of this name.

    Raises `InvalidInputError`, naming those that are installed, when there is none or more than one.
    """
    drivers = available_drivers()
    matching = [driver for driver in drivers if driver.get_engine() == engine]
    if not matching:
        known = ", ".join(sorted(repr(driver.get_engine()) for driver in drivers))
        raise InvalidInputError(
            f"no driver for the engine {engine!r}; installed are those for {known}: install the package that has it"
            f" (entry point group {GROUP!r})"
        )
    if len(matching) > 1:
        names = ", ".join(sorted(f"{driver.__module__}.{driver.__qualname__}" for driver in matching))
        raise InvalidInputError(f"more than one driver for the engine {engine!r}: {names}; uninstall all but one")
    return matching[0]


def _drivers_in(thing: Any) -> set[type[AbstractDriver]]:
    members = vars(thing).values() if isinstance(thing, ModuleType) else [thing]
    return {member for member in members if is_driver(member)}


def _load(point: EntryPoint) -> Any:
    try:
        return point.load()
    except Exception:  # a broken package of somebody else's must not take the others' drivers away
        logger.exception("driver left out: it cannot be imported", entry_point=point.name, value=point.value)
        return None
