"""``streams/`` says what the code does: schemas, golden examples, the subject grammar, the stream definitions."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from vmr import contract
from vmr.errors import InvalidInputError
from vmr.events import BODY_TYPES, Body, KnownBody, Unknown, decode, encode, subject_of
from vmr.log import schemas
from vmr.log._stream import definition, differences
from vmr.subjects import all_events, decode_token, encode_token, entity_subject, stream_name

STREAMS = contract.streams()
GOLDEN = sorted((STREAMS / "golden").glob("*.json"))


def examples() -> list[Any]:
    """Return every golden example, as the JSON object that it is."""
    return [
        pytest.param(file, event, id=f"{file.stem}-{number}")
        for file in GOLDEN
        for number, event in enumerate(json.loads(file.read_text()))
    ]


@pytest.mark.parametrize("body", BODY_TYPES.values(), ids=BODY_TYPES.keys())
def test_every_event_type_has_its_schema_and_examples(body: type[KnownBody]) -> None:
    """The schema is the one that the type makes (`python -m vmr.log.schemas` writes it), and there is an example."""
    assert schemas.file_of(body).read_text() == schemas.text_of(body)
    assert json.loads(schemas.file_of(body, "golden").read_text())


def test_no_file_is_about_an_unknown_event() -> None:
    """A file of a type that nobody knows, or of a version to come, is a mistake."""
    for file in [*GOLDEN, *(STREAMS / "schemas").glob("*.json")]:
        name, _, version = file.stem.rpartition(".v")
        assert 1 <= int(version) <= BODY_TYPES[name].VERSION


@pytest.mark.parametrize(("file", "event"), examples())
def test_a_golden_example_decodes_and_encodes_to_itself(file: Path, event: dict[str, Any]) -> None:
    """What was ever published is still understood, byte for byte where its version is the current one."""
    decoded = decode(json.dumps(event).encode())
    name, _, version = file.stem.rpartition(".v")
    assert isinstance(decoded.body, Body)
    assert decoded.type == name == event["body"]["type"]
    assert event["version"] == int(version)
    if int(version) == BODY_TYPES[name].VERSION:
        assert json.loads(encode(decoded)) == event


@pytest.mark.parametrize(("file", "event"), examples())
def test_a_golden_example_is_valid_by_its_schema(file: Path, event: dict[str, Any]) -> None:
    """The schema accepts it, and would notice a field that is missing or has another type."""
    schema = json.loads((STREAMS / "schemas" / file.name).read_text())
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(event)
    assert not validator.is_valid({**event, "body": {"type": "something.else"}})
    assert not validator.is_valid({**event, "version": 99})
    assert not validator.is_valid({key: value for key, value in event.items() if key != "id"})


def test_ids_of_examples_are_unique() -> None:
    """They can all be published to one log."""
    ids = [event["id"] for file in GOLDEN for event in json.loads(file.read_text())]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("change", [{"type": "vm.from_tomorrow"}, {"version": 99}])
def test_an_unknown_type_or_version_is_kept_raw(change: dict[str, Any]) -> None:
    """A later vmr's event passes through this one unchanged."""
    event = json.loads((STREAMS / "golden" / "vm.state_set.v1.json").read_text())[0]
    event["body"] |= {key: value for key, value in change.items() if key == "type"} | {"future": {"größe": [1, None]}}
    event["version"] = change.get("version", 1)
    decoded = decode(json.dumps(event).encode())
    assert isinstance(decoded.body, Unknown)
    assert json.loads(decoded.body.raw) == event["body"]
    assert json.loads(encode(decoded)) == event


def rows(heading: str) -> list[tuple[str, str]]:
    """Return the two columns, without their backticks, of the table under ``heading`` in subjects.md."""
    section = (STREAMS / "subjects.md").read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    found = re.findall(r"^\| `?(.*?)`? \| `(.*)` \|$", section, re.MULTILINE)
    assert found
    return found


def test_the_grammar_s_tokens() -> None:
    """Every name in the table encodes to its token and back."""
    for name, token in rows("Names as tokens"):
        assert encode_token(json.loads(name)) == token
        assert decode_token(token) == json.loads(name)


def test_the_grammar_s_refusals() -> None:
    """Every token that it calls wrong is refused."""
    line = re.search(
        r"^A token that no name encodes to is refused: (.*)\.$", (STREAMS / "subjects.md").read_text(), re.MULTILINE
    )
    assert line is not None
    wrong = re.findall(r"`([^`]*)`", line[1])
    assert len(wrong) == 5
    for token in wrong:
        with pytest.raises(InvalidInputError):
            decode_token(token)


def test_the_grammar_s_events() -> None:
    """Every event in the table is published on the subject beside it."""
    for body, subject in rows("Events and their subjects"):
        plain = json.loads(body)
        assert subject_of("prod", msgspec.convert(plain, BODY_TYPES[plain["type"]])) == subject


def test_the_grammar_s_filters() -> None:
    """The table's filters are those of the code."""
    assert [subject for _, subject in rows("Filters")] == [
        all_events("prod"),
        entity_subject("prod", "vm", "6ba7b810", "*"),
        "vmr.prod.vm.*.state_set",
        entity_subject("prod", "experiment", None, "*"),
    ]


def test_the_stream_is_immutable_and_durable() -> None:
    """The settings on which the log's promises rest."""
    config = definition("stream.json", "prod")
    assert config["name"] == stream_name("prod")
    assert config["subjects"] == [all_events("prod")]
    assert (config["storage"], config["discard"], config["retention"]) == ("file", "new", "limits")
    assert config["deny_delete"]
    assert config["deny_purge"]
    assert config["allow_atomic"]
    assert config["max_age"] == 0


def test_what_an_operator_may_change_is_no_difference() -> None:
    """Replicas are a matter of the cluster; deletability is not."""
    wanted = definition("stream.json", "prod")
    assert differences(wanted, wanted | {"num_replicas": 3, "placement": {"tags": ["ssd"]}}) == {}
    assert differences(wanted, wanted | {"deny_delete": False}) == {"deny_delete": True}
    del wanted["allow_rollup_hdrs"]
    assert differences(wanted | {"allow_rollup_hdrs": False}, wanted) == {}
