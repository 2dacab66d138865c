"""docs/experiments.md says what the format is."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from vmr.experiment import parse_experiment
from vmr.experiment_format import EntrySection, ExperimentSection, FileSection, TransferSection, VmSection
from vmr.testing.programs import Output, SimulatedProgram

PAGE = Path(__file__).resolve().parents[2] / "docs" / "experiments.md"
TEXT = PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "section",
    [ExperimentSection, VmSection, EntrySection, FileSection, TransferSection, SimulatedProgram, Output],
    ids=lambda section: section.__name__,
)
def test_every_key_is_documented(section: type[msgspec.Struct]) -> None:
    """A key that the format knows stands in the reference."""
    prose = re.sub(r"```.*?```", "", TEXT, flags=re.DOTALL)
    said = set(re.findall(r"[a-z_]+", " ".join(re.findall(r"`([^`]+)`", prose))))
    assert {field.encode_name for field in msgspec.structs.fields(section)} <= said


def test_documented_examples_are_right() -> None:
    """Whole experiments on the page pass all checks, and parts do within one."""
    blocks = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        text = block if block.startswith("name:") else f"name: t\nvms: {{a: }}\n{block}"
        assert parse_experiment(text, PAGE).name
