"""What typed lines mean."""

import pytest
from relay_chat.model.commands import COMMANDS, Line, find, parse


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("hello", Line(text="hello")),
        ("two\nlines\n", Line(text="two\nlines")),
        ("//not a command", Line(text="/not a command")),
        ("/msg bob hi there", Line(command="msg", argument="bob hi there")),
        ("/MSG bob", Line(command="msg", argument="bob")),
        ("/msg bob one\ntwo", Line(command="msg", argument="bob one\ntwo")),
        ("/quit", Line(command="quit")),
        ("/exit", Line(command="quit")),
        ("Q", Line(command="quit")),
        (" Q ", Line(command="quit")),
        ("q", Line(text="q")),
        ("Q?", Line(text="Q?")),
    ],
)
def test_what_is_meant(typed: str, line: Line) -> None:
    assert parse(typed) == line


@pytest.mark.parametrize(
    ("typed", "guess"), [("/jion #ops", "/join"), ("/qit", "/quit"), ("/hlep", "/help"), ("/mgs bob", "/msg")]
)
def test_a_slip_is_recognised(typed: str, guess: str) -> None:
    assert f"did you mean {guess}?" in parse(typed).problem


@pytest.mark.parametrize("typed", ["/xyzzy", "/", "/\n", "/42"])
def test_what_is_no_command_is_explained(typed: str) -> None:
    assert "there is no command" in parse(typed).problem


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_commands_that_need_a_word_say_so(command) -> None:  # type: ignore[no-untyped-def]
    line = parse(f"/{command.name}")
    assert bool(line.problem) == command.argument[:1].isupper()
    assert find(f"/{command.name}") is command
