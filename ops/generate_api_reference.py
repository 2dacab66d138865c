"""Write docs/api.md, the reference of the documented interface, from the code itself.

``.venv/bin/python ops/generate_api_reference.py`` writes it; with ``--check`` it only says whether it is up to date (exit code 1: it
is not).
"""

from __future__ import annotations

import enum
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

PAGE = Path(__file__).resolve().parents[1] / "docs" / "api.md"
MODULES = (
    "api",
    "utils",
    "vm_mapping",
    "experiment_start",
    "schedule_entry",
    "schedule_db",
    "schedule_event",
    "schedule_updater",
    "vm_resource_store",
    "file_store",
    "vm_resource_handler",
    "abstract_driver",
    "drivers",
    "drivers.qemu_guest_agent_driver",
    "errors",
)
PRIVATE = {
    "_check_driver",
    "_import_drivers",
    "_print_stream",
    "_run",
    "_run_vm_resource",
    "_transfer_data",
    "_delete_parent_directories",
    "_get_stream",
    "_reset_cache",
    "_write",
    "_prep_async_exec",
}
"""Methods with a leading underscore that FIREWHEEL documents."""

HEAD = """\
# API reference

The interface as FIREWHEEL's users know it (see [migrating](migrating-from-firewheel.md)), and the errors. Written by
`ops/generate_api_reference.py` from the code; a test holds this page against it.
"""


def page() -> str:
    """Return the page."""
    modules = [importlib.import_module(f"vmr.{name}") for name in MODULES]
    contents = "\n".join(f"- [`{module.__name__}`](#{_anchor(module.__name__)})" for module in modules)
    return f"{HEAD}\n{contents}\n\n" + "\n".join(line for module in modules for line in _module(module)) + "\n"


def _anchor(name: str) -> str:
    return re.sub(r"[^a-z0-9_-]", "", name.lower())


def _module(module: ModuleType) -> Iterator[str]:
    yield from (f"## `{module.__name__}`", "", _text(module), "")
    for name, member in vars(module).items():
        if name.startswith("_") or not _is_defined(member, module):
            continue
        if inspect.isclass(member):
            yield from _class(member)
        else:
            yield from (f"### `{name}{_signature(member)}`", "", _text(member), "")


def _is_defined(member: object, module: ModuleType) -> bool:
    """Whether a function or class is the module's own, or one that it passes on as its own."""
    if not (inspect.isclass(member) or inspect.isfunction(member)):
        return False
    return member.__module__ == module.__name__ or member.__name__ in getattr(module, "__all__", ())


def _class(kind: type) -> Iterator[str]:
    shown = (
        "" if issubclass(kind, enum.Enum | Exception) or kind.__init__ is object.__init__ else _signature(kind.__init__)
    )
    bases = ", ".join(f"`{base.__name__}`" for base in kind.__bases__ if base is not object)
    yield from (f"### class `{kind.__name__}{shown}`", "")
    if bases:
        yield from (f"Bases: {bases}", "")
    yield from (_text(kind), "")
    if issubclass(kind, enum.Enum):
        yield from ([f"- `{member.name}` = `{member.value!r}`" for member in kind] + [""])
        return
    for name, member in vars(kind).items():
        if (name.startswith("_") and name not in PRIVATE) or not _text_of(member):
            continue
        yield from _member(name, member)


def _member(name: str, member: object) -> Iterator[str]:
    if isinstance(member, property):
        yield from (f"#### property `{name}`", "", _text(member), "")
    elif isinstance(member, staticmethod | classmethod):
        word = "static" if isinstance(member, staticmethod) else "class method"
        yield from (f"#### {word} `{name}{_signature(member.__func__)}`", "", _text(member.__func__), "")
    elif inspect.isfunction(member):
        word = "abstract " if getattr(member, "__isabstractmethod__", False) else ""
        yield from (f"#### {word}`{name}{_signature(member)}`", "", _text(member), "")


def _text_of(member: object) -> str:
    found = member.__func__ if isinstance(member, staticmethod | classmethod) else member
    wanted = inspect.isfunction(found) or isinstance(found, property)
    return (inspect.getdoc(found) or "") if wanted else ""


def _signature(function: Callable[..., object]) -> str:
    signature = inspect.signature(function)
    parameters = [each for each in signature.parameters.values() if each.name not in {"self", "cls"}]
    shown = str(signature.replace(parameters=parameters))
    # Annotations are strings, and shown without their quotes; defaults are shown as they are.
    return re.sub(r"(: |-> )'([^']*)'", r"\1\2", shown).removesuffix(" -> None")


def _text(member: object) -> str:
    """Return a docstring as Markdown: references and code in single backquotes, fields as lists."""
    lines = []
    in_fields = False
    for line in (inspect.getdoc(member) or "").replace("``", "`").splitlines():
        if re.fullmatch(r"(Args|Attributes):", line):
            in_fields = True
            lines += [f"**{line[:-1]}**", ""]
            continue
        in_fields = in_fields and (not line or line.startswith("    "))
        lines.append(_field_line(line) if in_fields else line)
    return re.sub(r"::$", ":", "\n".join(lines), flags=re.MULTILINE)


def _field_line(line: str) -> str:
    """Return a line of a list of fields: a field is an item, and what goes on below it is indented as its text."""
    return re.sub(r"^(\w+): ", r"- `\1`: ", line[4:]) if not line.startswith("        ") else line[6:]


def main(arguments: list[str]) -> int:
    """Write or check the page; return the exit code."""
    if arguments not in ([], ["--check"]):
        sys.stderr.write(str(__doc__))
        return 2
    wanted = page()
    if arguments:
        same = PAGE.exists() and PAGE.read_text(encoding="utf-8") == wanted
        if not same:
            sys.stderr.write("docs/api.md is out of date: run .venv/bin/python ops/generate_api_reference.py\n")
        return 0 if same else 1
    PAGE.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
