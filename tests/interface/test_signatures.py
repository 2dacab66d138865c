"""Every definition of FIREWHEEL's API reference for its VM Resource Manager exists in `vmr`.

``seed_signatures.json`` lists them.
"""

from __future__ import annotations

import ast
import enum
import importlib
import inspect
import json
from pathlib import Path
from typing import Any

import pytest

DEFINITIONS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "seed_signatures.json").read_text(encoding="utf-8")
)
CLASSES = [each for each in DEFINITIONS if each["kind"] == "class"]
CALLABLES = [each for each in DEFINITIONS if each["kind"] != "class"]


NOT_RAISED = {("schedule_db.ScheduleDb.__init__", "RuntimeError")}
"""Promises that have nothing to be about here: there is no file store with connections of its own."""


def name_of(definition: dict[str, Any]) -> str:
    """Return the definition's name with its module and class."""
    return ".".join(part for part in (definition["module"], definition.get("class"), definition["name"]) if part)


def find(definition: dict[str, Any]) -> Any:
    """Return what has the definition's name in `vmr`; a method is what its class, or a base that is vmr's, defines."""
    module = importlib.import_module(f"vmr.{definition['module']}")
    owner = getattr(module, definition["class"]) if "class" in definition else module
    return inspect.getattr_static(owner, definition["name"])


def parameters_of(function: Any) -> list[dict[str, Any]]:
    """Return a function's parameters as the data has them, without ``self`` and what vmr adds by keyword only."""
    parameters = list(inspect.signature(function).parameters.values())
    if parameters and parameters[0].name in {"self", "cls"}:
        parameters = parameters[1:]
    listed = []
    for parameter in parameters:
        assert parameter.kind in {parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY}, parameter
        if parameter.kind is parameter.KEYWORD_ONLY:
            assert parameter.default is not parameter.empty, f"{parameter} would have to be given"
            continue
        item: dict[str, Any] = {"name": parameter.name}
        if parameter.default is not parameter.empty:
            item["default"] = parameter.default
        listed.append(item)
    return listed


def as_data(parameters: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the parameters of the data with their defaults as values."""
    return [each | ({"default": ast.literal_eval(each["default"])} if "default" in each else {}) for each in parameters]


def test_the_data_is_whole() -> None:
    """As many definitions as the reference has, in all its modules."""
    assert len(DEFINITIONS) == 160
    assert len({each["module"] for each in DEFINITIONS}) == 12
    assert len(CLASSES) == 12


@pytest.mark.parametrize("definition", CALLABLES, ids=name_of)
def test_functions_and_methods(definition: dict[str, Any]) -> None:
    """Same name, same parameters in the same order with the same defaults; static or abstract where it is."""
    found = find(definition)
    assert isinstance(found, staticmethod) is definition.get("static", False)
    function = found.__func__ if isinstance(found, staticmethod) else found
    assert callable(function)
    assert parameters_of(function) == as_data(definition["parameters"])
    assert getattr(function, "__isabstractmethod__", False) is definition.get("abstract", False)


@pytest.mark.parametrize("definition", CLASSES, ids=name_of)
def test_classes(definition: dict[str, Any]) -> None:
    """Same name, same bases, same construction, same constants."""
    found = find(definition)
    assert isinstance(found, type)
    if definition["bases"] != ["object"]:
        assert set(definition["bases"]) <= {base.__name__ for base in found.__mro__}
    if not issubclass(found, enum.Enum | Exception):
        assert parameters_of(found.__init__) == as_data(definition["parameters"])
    for name, text in definition["values"].items():
        value = getattr(found, name)
        if name == "__abstractmethods__":
            expected = ast.literal_eval(text.removeprefix("frozenset(").removesuffix(")"))
            assert value == frozenset(expected)
        else:
            assert (value.value if isinstance(value, enum.Enum) else value) == ast.literal_eval(text)
    if issubclass(found, enum.Enum):
        assert {member.name for member in found} == set(definition["values"])


@pytest.mark.parametrize("definition", DEFINITIONS, ids=name_of)
def test_documentation(definition: dict[str, Any]) -> None:
    """Everything has a docstring of vmr's own, which names each exception that the reference promises.

    A method's exceptions may be named by its class as well, when they are the same for all of its methods.
    """
    found = find(definition)
    text = inspect.getdoc(found.__func__ if isinstance(found, staticmethod) else found) or ""
    magic = definition["name"].startswith("__")
    assert text or magic
    if "class" in definition:
        text += (
            inspect.getdoc(getattr(importlib.import_module(f"vmr.{definition['module']}"), definition["class"])) or ""
        )
    promised = {each for each in definition["raises"] if (name_of(definition), each) not in NOT_RAISED} - {"Exception"}
    missing = [each for each in promised if f"`{each}`" not in text]
    assert missing == []
