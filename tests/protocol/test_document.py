"""docs/protocol.md and docs/limits.md say what the code does: examples, tables, numbers."""

import re
from pathlib import Path
from types import NoneType
from typing import get_args, get_type_hints

import pytest

from relay.config import DECLARATIONS
from relay.protocol import limits, scram
from relay.protocol.codes import CloseCode, ErrorCode, Retry, retry_after_close
from relay.protocol.frames import FrameReader
from relay.protocol.limits import FRAME_MAX
from relay.protocol.packets import NUMBERS, PACKETS, Packet, decode, encode, name_of
from relay.protocol.scram import ITERATIONS_MAX, ITERATIONS_MIN, MECHANISM, ClientLogin, ServerLogin
from relay.protocol.states import FROM_CLIENT, FROM_RELAY, State
from relay.router.methods import METHODS
from tests.protocol import examples
from tests.protocol.examples import EXAMPLES, LOGIN, UNUSUAL, Block

DOCS = Path(__file__).parents[2] / "docs"
SPECIFICATION = (DOCS / "protocol.md").read_text()
LIMITS = (DOCS / "limits.md").read_text()

BLOCKS = examples.blocks(SPECIFICATION)
PACKET_BLOCKS = [block for block in BLOCKS if block.kind == "packet"]


def row(*cells: str) -> re.Pattern[str]:
    """A line of a markdown table that begins with these cells."""
    return re.compile(r"^\| " + r" \| ".join(re.escape(cell) for cell in cells) + r" \| (.+) \|$", re.MULTILINE)


def section(heading: str) -> str:
    """The text below a heading, up to the next heading of any level."""
    found = re.search(rf"^#+ {re.escape(heading)}$\n((?:(?!^#+ ).*\n)*)", SPECIFICATION, re.MULTILINE)
    assert found is not None, f"protocol.md has no heading {heading!r}"
    return found[1]


def test_blocks_are_what_the_code_makes() -> None:
    assert examples.renew(SPECIFICATION) == SPECIFICATION, "run python -m tests.protocol.examples --write"


def test_every_example_is_shown() -> None:
    assert examples.missing(SPECIFICATION) == []
    assert SPECIFICATION.count("```packet ") == len(PACKET_BLOCKS), "a block that the pattern does not recognise"


@pytest.mark.parametrize("block", PACKET_BLOCKS, ids=lambda block: block.label)
def test_bytes_in_the_document_decode_to_the_packet(block: Block) -> None:
    reader = FrameReader(FRAME_MAX)
    reader.feed(examples.frame_in(block))
    payload = reader.next_payload()
    assert payload is not None
    expected = EXAMPLES[block.label] if block.label in EXAMPLES else UNUSUAL[block.label].decoded
    assert decode(payload) == expected
    assert reader.take_rest() == b""


@pytest.mark.parametrize("label", EXAMPLES)
def test_the_packet_encodes_to_the_bytes_in_the_document(label: str) -> None:
    (block,) = [block for block in PACKET_BLOCKS if block.label == label]
    assert encode(EXAMPLES[label]) == examples.frame_in(block)


@pytest.mark.parametrize("kind", NUMBERS, ids=name_of)
def test_every_packet_has_an_example(kind: type[Packet]) -> None:
    assert type(EXAMPLES[name_of(kind)]) is kind


@pytest.mark.parametrize("kind", NUMBERS, ids=name_of)
def test_every_packet_has_a_heading_and_its_table_of_fields(kind: type[Packet]) -> None:
    text = section(f"{name_of(kind)} ({NUMBERS[kind]})")
    rows = re.findall(r"^\| `(\w+)` \| ([\w ]+) \| .+ \|$", text, re.MULTILINE)
    words = {int: "int", str: "str", bytes: "bin", NoneType: "nil"}
    hints = get_type_hints(kind)
    expected = [
        ("from" if name == "sender" else name, " or ".join(words[k] for k in get_args(hints[name]) or (hints[name],)))
        for name in kind._fields
    ]
    assert rows == expected


def test_no_heading_names_a_packet_that_does_not_exist() -> None:
    headings = re.findall(r"^### ([A-Z]+) \((\d+)\)$", SPECIFICATION, re.MULTILINE)
    assert sorted(headings) == sorted((name_of(kind), str(number)) for number, kind in PACKETS.items())


@pytest.mark.parametrize("code", [*ErrorCode, *CloseCode], ids=lambda code: f"{code.name}-{code:d}")
def test_every_code_is_explained_under_its_number(code: ErrorCode | CloseCode) -> None:
    assert len(row(str(int(code)), code.name).findall(SPECIFICATION)) == 1


def test_no_code_is_explained_that_does_not_exist() -> None:
    listed = re.findall(r"^\| (\d{3,4}) \| ([A-Z_]+) \|", SPECIFICATION, re.MULTILINE)
    assert listed == [(str(int(code)), code.name) for code in [*ErrorCode, *CloseCode]]


@pytest.mark.parametrize(
    ("first", "last", "retry"),
    [(4000, 4099, Retry.NOW), (4100, 4199, Retry.LATER), (4200, 4299, Retry.NEVER), (4300, 4399, Retry.NEVER)],
)
def test_ranges_of_close_codes(first: int, last: int, retry: Retry) -> None:
    assert row(f"{first} to {last}").search(section("15. Close codes"))
    assert retry_after_close(first) is retry_after_close(last) is retry


def test_every_call_that_the_relay_answers_is_described() -> None:
    described = re.findall(r"^### `([\w.]+)`$", SPECIFICATION, re.MULTILINE)
    assert sorted(described) == sorted(METHODS)


def states_in_document(title: str) -> dict[tuple[State, str], State]:
    text = section("6. States").partition(title)[2].lstrip("\n").partition("\n\n")[0]
    rows = re.findall(r"^\| ([A-Z]+) \| ([A-Z, ]+) \| ([A-Z]+) \|$", text, re.MULTILINE)
    return {(State[state], packet): State[then] for state, packets, then in rows for packet in packets.split(", ")}


@pytest.mark.parametrize(
    ("title", "table"),
    [("What the relay accepts from a client:", FROM_CLIENT), ("What a client accepts from the relay:", FROM_RELAY)],
)
def test_state_tables(title: str, table: dict[tuple[State, type[Packet]], State]) -> None:
    assert states_in_document(title) == {(state, name_of(kind)): then for (state, kind), then in table.items()}


def test_the_worked_login_is_what_both_ends_compute() -> None:
    client = ClientLogin(examples.USER, examples.PASSWORD, nonce=LOGIN.client_nonce)
    server = ServerLogin(examples.USER, LOGIN.credentials, nonce=LOGIN.server_nonce)
    client_first = client.first()
    server_first = server.first(client_first)
    client_final = client.final(server_first)
    server_final = server.final(client_final)
    client.check(server_final)
    assert [client_first, server_first, client_final, server_final] == [
        text.encode() for text in (LOGIN.client_first, LOGIN.server_first, LOGIN.client_final, LOGIN.server_final)
    ]


def test_the_login_section_names_mechanism_and_bounds() -> None:
    text = section("The exchange, step by step")
    assert f"between {ITERATIONS_MIN} and\n   {ITERATIONS_MAX}" in text
    assert f"| `mechanism` | str | `{MECHANISM}`, or `TICKET` (" in SPECIFICATION


def public_limits() -> dict[str, int]:
    return {name: value for name, value in vars(limits).items() if name.isupper() and isinstance(value, int)}


def test_limits_of_the_login() -> None:
    for name in ("ITERATIONS_MIN", "ITERATIONS_DEFAULT", "ITERATIONS_MAX"):
        assert row(f"`{name}`", str(getattr(scram, name))).search(LIMITS)


LIMITING_SETTINGS = [name for name in DECLARATIONS if re.search(r"_(max|s|bytes|mb|hours|days|iterations)$", name)]


@pytest.mark.parametrize("name", LIMITING_SETTINGS)
def test_every_setting_that_limits_something_is_in_the_list_with_its_default(name: str) -> None:
    assert row(f"`{name}`", f"{DECLARATIONS[name].default:.15g}").search(LIMITS)


def test_no_setting_is_listed_that_does_not_exist() -> None:
    assert re.findall(r"^\| `([a-z_]+)` \|", LIMITS, re.MULTILINE) == LIMITING_SETTINGS


@pytest.mark.parametrize("name", public_limits())
def test_every_limit_of_the_wire_is_in_the_list_with_its_number(name: str) -> None:
    assert row(f"`{name}`", str(public_limits()[name])).search(LIMITS)


def test_no_limit_is_listed_that_does_not_exist() -> None:
    listed = set(re.findall(r"^\| `([A-Z_]+)` \|", LIMITS, re.MULTILINE))
    assert listed == set(public_limits()) | {"ITERATIONS_MIN", "ITERATIONS_MAX", "ITERATIONS_DEFAULT"}


@pytest.mark.parametrize(
    "name",
    [
        "FRAME_MAX_BEFORE_LOGIN",
        "FRAME_MAX",
        "FIELDS_MAX",
        "INTEGER_MAX",
        "BODY_MAX",
        "MESSAGE_MAX",
        "CALL_TIMEOUT_MAX_MS",
    ],
)
def test_the_specification_states_the_limit(name: str) -> None:
    assert re.search(rf"\b{public_limits()[name]}\b", section("16. Limits"))
