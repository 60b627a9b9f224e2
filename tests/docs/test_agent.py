"""docs/agent.md names every key, record and code."""

import re
from pathlib import Path

from relay_agent.commands import Command
from relay_agent.config import _COMMAND
from relay_agent.records import FIELDS, NUMBERS, SIGNALS, AgentCode, Exit, Stdout, encode

TEXT = (Path(__file__).parents[2] / "docs" / "agent.md").read_text()


def test_every_code_is_explained() -> None:
    assert re.findall(r"^\| (1\d{3}) \| (\w+) \|", TEXT, re.M) == [(str(int(code)), code.name) for code in AgentCode]


def test_every_record_is_explained() -> None:
    rows = re.findall(r"^\| (\d+) \| ([A-Z]+) \| \w+ \|(.*?)\| ", TEXT, re.M)
    assert [(int(number), name) for number, name, _ in rows] == [
        (number, kind.__name__.upper()) for kind, number in NUMBERS.items()
    ]
    for (kind, types), (_, _, fields) in zip(FIELDS.items(), rows, strict=True):
        assert [name for name in re.findall(r"\w+", fields) if name not in {"bin", "str", "int"}] == list(kind._fields)
        assert len(types) == len(kind._fields)
    assert all(name in TEXT for name in SIGNALS)


def test_the_bytes_are_right() -> None:
    assert encode(Stdout(b"hi\n")).hex(" ") in TEXT and encode(Exit(0, "", 0, "")).hex(" ") in TEXT


def test_every_key_is_explained_with_its_default() -> None:
    rows = {
        name: default
        for names, default in re.findall(r"^\| (`[a-z_`, ]+`) \| (.*?) \|", TEXT, re.M)
        for name in re.findall(r"\w+", names)
    }
    assert set(rows) == set(_COMMAND)
    fields = {name: field.default for name, field in Command.__dataclass_fields__.items()}
    for name, default in rows.items():
        if re.fullmatch(r"\d+", default):
            assert fields[name] == int(default)
