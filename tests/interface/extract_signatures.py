"""Turn the text of FIREWHEEL's API reference for its VM Resource Manager into data.

``python extract_signatures.py REFERENCE.txt`` prints the data, which is ``seed_signatures.json``; `test_signatures` holds
`vmr` against it. It was made once; this stays here so that the data can be checked against the text, or extracted again
from a later reference.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from pathlib import Path
from typing import Any

PACKAGE = "firewheel.vm_resource_manager."
_HEAD = re.compile(
    r"^(?P<words>(?:(?:class|exception|abstract|static|property) )*)(?P<name>[A-Za-z_][\w.]*)(?:\((?P<arguments>.*)\))?\[source\]$"
)
_VALUE = re.compile(r"^(?P<name>[A-Z_][A-Z0-9_]*|__abstractmethods__) = (?P<value>.+)$")
_BASES = re.compile(r"^Bases: (?P<bases>.+)$")
_RAISED = re.compile(r"^(?:• )?(?P<name>[A-Z]\w*(?:Error|Exception|Exit)|Exception) \u2013 ")
_SECTIONS = ("Parameters:", "Returns:", "Return type:", "Type:", "Note")


def parameters_of(arguments: str | None) -> list[dict[str, Any]]:
    """Return the parameters in order, each with its default as source text, or none when it has none."""
    if not arguments or "<not given>" in arguments:
        return []
    function = ast.parse(f"def f({arguments}): ...").body[0]
    assert isinstance(function, ast.FunctionDef)
    names = [argument.arg for argument in function.args.args]
    defaults = [ast.unparse(default) for default in function.args.defaults]
    required = len(names) - len(defaults)
    return [{"name": name} if index < required else {"name": name, "default": defaults[index - required]}
            for index, name in enumerate(names)]  # fmt: skip


class Extraction:
    """The definitions found so far, and where the text stands."""

    def __init__(self) -> None:
        self.found: list[dict[str, Any]] = []
        self._owner: dict[str, Any] | None = None
        self._current: dict[str, Any] = {}
        self._raises = False

    def line(self, line: str) -> None:
        """Take one line of the text."""
        if head := _HEAD.match(line):
            self._definition(head)
        elif (value := _VALUE.match(line)) and self._owner is not None:
            self._owner["values"][value["name"]] = value["value"]
        elif (bases := _BASES.match(line)) and self._owner is not None:
            self._owner["bases"] = bases["bases"].split(", ")
        elif line == "Raises:":
            self._raises = True
        elif line in _SECTIONS:
            self._raises = False
        elif self._raises and (raised := _RAISED.match(line.strip())):
            self._current["raises"].append(raised["name"])

    def _definition(self, head: re.Match[str]) -> None:
        words, name = head["words"].split(), head["name"]
        self._raises = False
        if name.startswith(PACKAGE):
            module, _, name = name.removeprefix(PACKAGE).rpartition(".")
            kind = "class" if {"class", "exception"} & set(words) else "function"
            item: dict[str, Any] = {"module": module, "name": name, "kind": kind}
            self._owner = None
        else:
            assert self._owner is not None, name
            item = {"module": self._owner["module"], "class": self._owner["name"], "name": name, "kind": "method"}
        if item["kind"] == "class":
            item |= {"bases": [], "values": {}}
            self._owner = item
        item |= {"parameters": parameters_of(head["arguments"]), "raises": []}
        item |= {"static": True} if "static" in words else {}
        item |= {"abstract": True} if "abstract" in words else {}
        self._current = item
        self.found.append(item)


def extract(text: str) -> list[dict[str, Any]]:
    """Return every definition of the reference, in its order."""
    extraction = Extraction()
    for line in text.splitlines():
        extraction.line(line.strip())
    return extraction.found


if __name__ == "__main__":
    definitions = extract(Path(sys.argv[1]).read_text(encoding="utf-8"))
    sys.stdout.write("[\n" + ",\n".join(json.dumps(each) for each in definitions) + "\n]\n")
