"""A machine for the harmless instructions of a pickle.

A pickle is a program for a small machine; Python's own machine can be told to call anything. This one knows only the instructions
that build numbers, strings, lists, tuples, dictionaries and instances of FIREWHEEL's schedule entry class. It imports nothing and
calls nothing: a class is a name here, and an instance is the dictionary of its attributes. Whatever else a pickle asks for is
refused, by name.
"""

from __future__ import annotations

import pickletools
import sys
from collections.abc import Callable
from typing import Any, ClassVar, Final

import msgspec

from vmr.errors import InvalidInputError

ENTRY_CLASSES: Final = frozenset(
    {"firewheel.vm_resource_manager.schedule_entry ScheduleEntry", "vmr.schedule_entry ScheduleEntry"}
)
_RECONSTRUCTOR: Final = "copyreg _reconstructor"
_OLD_RECONSTRUCTOR: Final = "copy_reg _reconstructor"
_OBJECTS: Final = frozenset({"builtins object", "__builtin__ object"})
_ALLOWED: Final = ENTRY_CLASSES | _OBJECTS | {_RECONSTRUCTOR, _OLD_RECONSTRUCTOR}
_MOST_STEPS: Final = 5_000_000
_MARK: Final = object()


class Name(msgspec.Struct, frozen=True):
    """A global that a pickle names; it is never looked up."""

    text: str


class Instance(msgspec.Struct, eq=False):
    """An entry as the pickle describes it."""

    attributes: dict[str, Any] = msgspec.field(default_factory=dict)


def kind_of(value: object) -> str:
    """Return what ``value`` is, for messages; it may be nested without an end, and is not shown."""
    if isinstance(value, Name):
        return f"the global {value.text!r}"
    return "a schedule entry" if isinstance(value, Instance) else f"a value of type {type(value).__name__}"


class PickleMachine:
    """Runs one pickle. The last value on its stack is the pickle's."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self, data: bytes) -> object:
        """Return the value that the pickle ``data`` builds."""
        where = 0
        try:
            for steps, (opcode, argument, position) in enumerate(pickletools.genops(data)):
                where = position or 0
                self._step(opcode.name, argument, steps)
        except InvalidInputError as error:
            raise InvalidInputError(f"byte {where} of the pickle: {error}") from error
        except (ValueError, IndexError, KeyError, TypeError, OverflowError, AttributeError) as error:
            raise InvalidInputError(f"byte {where} of the pickle: damaged ({type(error).__name__}: {error})") from error
        if len(self._stack) != 1:
            raise InvalidInputError("a damaged pickle: it does not build one value")
        return self._stack[0]

    def _step(self, name: str, argument: Any, steps: int) -> None:
        if steps > _MOST_STEPS:
            raise InvalidInputError("more than 5 million instructions: no schedule is so large")
        if name in _LITERALS:
            self._stack.append(argument)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name]())
        elif name in _TUPLES:
            self._push_tuple(_TUPLES[name])
        elif name not in _IGNORED:
            step = self._STEPS.get(name)
            if step is None:
                raise InvalidInputError(f"the instruction {name}, which no schedule needs: refused")
            step(self, argument)

    def _push_tuple(self, size: int) -> None:
        items = tuple(self._pop() for _ in range(size))
        self._stack.append(items[::-1])

    def _pop(self) -> Any:
        value = self._stack.pop()
        if value is _MARK:
            raise ValueError("a mark where a value belongs")
        return value

    def _pop_mark(self) -> list[Any]:
        start = max(place for place, value in enumerate(self._stack) if value is _MARK)
        items = self._stack[start + 1 :]
        del self._stack[start:]
        return items

    def _top(self, kind: type[Any]) -> Any:
        if not isinstance(self._stack[-1], kind):
            raise TypeError(f"{kind_of(self._stack[-1])} where a {kind.__name__} belongs")
        return self._stack[-1]

    def _mark(self, _: Any) -> None:
        self._stack.append(_MARK)

    def _drop(self, _: Any) -> None:
        self._stack.pop()

    def _drop_mark(self, _: Any) -> None:
        self._pop_mark()

    def _repeat(self, _: Any) -> None:
        self._stack.append(self._stack[-1])

    def _memoize(self, _: Any) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def _put(self, place: int) -> None:
        self._memo[place] = self._stack[-1]

    def _get(self, place: int) -> None:
        self._stack.append(self._memo[place])

    def _as_list(self, _: Any) -> None:
        self._stack.append(self._pop_mark())

    def _as_tuple(self, _: Any) -> None:
        self._stack.append(tuple(self._pop_mark()))

    def _as_dict(self, _: Any) -> None:
        self._stack.append(_pairs(self._pop_mark()))

    def _append(self, _: Any) -> None:
        item = self._pop()
        self._top(list).append(item)

    def _appends(self, _: Any) -> None:
        items = self._pop_mark()
        self._top(list).extend(items)

    def _set_item(self, _: Any) -> None:
        value, key = self._pop(), self._pop()
        self._top(dict).update(_pairs([key, value]))

    def _set_items(self, _: Any) -> None:
        items = self._pop_mark()
        self._top(dict).update(_pairs(items))

    def _name(self, text: str) -> None:
        if text not in _ALLOWED:
            raise InvalidInputError(
                f"{text[:200].replace(' ', '.', 1)}, which is no schedule entry of FIREWHEEL's: refused"
            )
        self._stack.append(Name(sys.intern(text)))

    def _name_from_stack(self, _: Any) -> None:
        attribute, module = self._pop(), self._pop()
        if not isinstance(module, str) or not isinstance(attribute, str):
            raise TypeError(f"{kind_of(module)} and {kind_of(attribute)} where the name of a global belongs")
        self._name(f"{module} {attribute}")

    def _new(self, _: Any) -> None:
        arguments, made = self._pop(), self._pop()
        self._stack.append(_make(made, arguments))

    def _build(self, _: Any) -> None:
        state = self._pop()
        instance = self._top(Instance)
        if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
            raise TypeError("the state of a schedule entry is no dictionary of attributes")
        instance.attributes.update(state)

    _STEPS: ClassVar[dict[str, Callable[[PickleMachine, Any], None]]] = {
        "MARK": _mark,
        "POP": _drop,
        "POP_MARK": _drop_mark,
        "DUP": _repeat,
        "MEMOIZE": _memoize,
        "PUT": _put,
        "BINPUT": _put,
        "LONG_BINPUT": _put,
        "GET": _get,
        "BINGET": _get,
        "LONG_BINGET": _get,
        "LIST": _as_list,
        "TUPLE": _as_tuple,
        "DICT": _as_dict,
        "APPEND": _append,
        "APPENDS": _appends,
        "SETITEM": _set_item,
        "SETITEMS": _set_items,
        "GLOBAL": _name,
        "STACK_GLOBAL": _name_from_stack,
        "NEWOBJ": _new,
        "REDUCE": _new,
        "BUILD": _build,
    }


def _make(made: object, arguments: object) -> Instance:
    """Return an empty entry: what ``Class()`` or ``copyreg._reconstructor(Class, object, None)`` would have made."""
    if isinstance(made, Name) and isinstance(arguments, tuple):
        if made.text in ENTRY_CLASSES and not arguments:
            return Instance()
        if made.text in {_RECONSTRUCTOR, _OLD_RECONSTRUCTOR}:
            names = [part.text for part in arguments if isinstance(part, Name)]
            if len(names) == 2 and names[0] in ENTRY_CLASSES and names[1] in _OBJECTS and arguments[2:] == (None,):
                return Instance()
    given = ", ".join(map(kind_of, arguments[:3])) if isinstance(arguments, tuple) else kind_of(arguments)
    raise InvalidInputError(
        f"a call of {kind_of(made)} with {given or 'nothing'}, which makes no schedule entry: refused"
    )


def _pairs(items: list[Any]) -> dict[Any, Any]:
    keys, values = items[::2], items[1::2]
    if not all(isinstance(key, (str, int, float)) for key in keys):
        raise TypeError("a dictionary with keys that are neither text nor numbers")
    return dict(zip(keys, values, strict=True))


_LITERALS: Final = frozenset(
    {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"}
    | {"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "STRING", "BINSTRING", "SHORT_BINSTRING"}
)
_CONSTANTS: Final[dict[str, Callable[[], Any]]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
}
_TUPLES: Final = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_IGNORED: Final = frozenset({"PROTO", "FRAME", "STOP"})
