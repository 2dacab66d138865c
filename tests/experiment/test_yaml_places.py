"""YAML as it is read for experiment files: 1.2 scalars, bounds, lines."""

from __future__ import annotations

import pytest

from vmr.yaml_places import Document, YamlError, plain_is_text


def problem_of(text: str) -> tuple[int, str]:
    """Return line and text of what makes ``text`` unreadable."""
    with pytest.raises(YamlError) as caught:
        Document(text)
    return caught.value.problem.line, caught.value.problem.text


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("no", "no"),
        ("on", "on"),
        ("1:30", "1:30"),
        ("2026-01-31", "2026-01-31"),
        ("010", 10),
        ("0o10", 8),
        ("0x10", 16),
        ("-5", -5),
        ("1e3", 1000.0),
        ("-inf", "-inf"),
        ("-.inf", float("-inf")),
        ("1_000", "1_000"),
        ("~", None),
        ("'12'", "12"),
        ("!!str 12", "12"),
    ],
)
def test_scalars_follow_yaml_1_2(written: str, meant: object) -> None:
    """No truth values, times in base 60, octal numbers or dates come out of plain words."""
    assert Document(f"a: {written}").value == {"a": meant}


def test_line_of_a_path_is_where_its_key_stands() -> None:
    """A path leads to a line, and one that does not exist to the nearest place around it."""
    document = Document("a:\n  b:\n    - x: 1\n    - x: 2\nc: 3\n")
    assert document.line(("a", "b", 1, "x")) == 4
    assert document.line(("a", "b", 7)) == 2
    assert document.line(("c", "no", "such")) == 5


def test_anchors_and_merges_expand() -> None:
    """A merged key gives way to the mapping's own, and earlier merges to none of the later."""
    document = Document("x: &x {p: 1, q: 1}\ny: &y {q: 2, r: 2}\nz:\n  <<: [*x, *y]\n  p: 3\n")
    assert document.value["z"] == {"p": 3, "q": 1, "r": 2}
    assert document.problems == []


def test_repeated_key_names_both_lines() -> None:
    """A key given twice is a problem at its second place, with the first named."""
    (problem,) = Document("a: 1\nb:\n  c: 1\n  c: 2\n").problems
    assert (problem.line, problem.path) == (4, ("b", "c"))
    assert "line 3" in problem.text


def test_keys_are_text() -> None:
    """A number as a key is a problem, not a second name for the same text."""
    (problem,) = Document("1: x\n").problems
    assert "quotes" in problem.text


def test_tags_construct_nothing() -> None:
    """A tag of Python's is refused by name, and nothing is imported or called."""
    (problem,) = Document("a: !!python/object/apply:os.system ['true']\n").problems
    assert "python/object/apply:os.system" in problem.text


def test_alias_bomb_is_refused() -> None:
    """A small file that expands to billions of values ends with an error within bounded memory."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    assert "fewer aliases" in problem_of("\n".join(lines))[1]


def test_deep_nesting_is_refused() -> None:
    """A hundred thousand brackets end with an error and not with the process."""
    assert "deep" in problem_of("[" * 100_000)[1]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", 1, "empty"),
        ("# only a comment\n", 1, "empty"),
        ("a: 1\n---\nb: 2\n", 3, "second document"),
        ("a: [1\nb: 2\n", 2, "not valid YAML"),
        ("a: \x01", 0, "not valid YAML"),
        ("a: 1\nb: *nowhere\n", 2, "*nowhere"),
        ("&a [*a]", 1, "*a"),
        ("? [a]\n: 1\n", 1, "key must be text"),
    ],
)
def test_unreadable_documents_name_the_line(text: str, line: int, words: str) -> None:
    """What is no single document of YAML says where and why."""
    found_line, found_text = problem_of(text)
    assert found_line == line
    assert words in found_text


def test_plain_is_text_tells_what_needs_quotes() -> None:
    """Words that would come back as something else are told apart."""
    assert plain_is_text("no")
    assert not any(plain_is_text(text) for text in ("1", "1e3", "true", "null", "", ".inf"))
