"""The rules of a command: who, how many arguments, which ones."""

import pytest
from relay_agent.commands import Argument, Command, RefusedRun
from relay_agent.records import AgentCode, Request, Terminal


def command(**fields: object) -> Command:
    return Command(**{"name": "make", "program": ("make",), "users": frozenset({"alice"})} | fields)  # type: ignore[arg-type]


def refusal(rules: Command, *arguments: str, user: str = "alice", terminal: Terminal | None = None) -> tuple[int, str]:
    with pytest.raises(RefusedRun) as refused:
        rules.check(user, Request("make", arguments, terminal))
    return refused.value.code, refused.value.sentence


def test_who() -> None:
    command().check("alice", Request("make", ()))
    command(users=frozenset("*")).check("anybody", Request("make", ()))
    assert refusal(command(), user="bob") == (AgentCode.USER_NOT_ALLOWED, "command 'make' is not offered to bob")


def test_how_many() -> None:
    rules = command(arguments=(Argument("a"), Argument("b")), arguments_min=1)
    rules.check("alice", Request("make", ("a",)))
    rules.check("alice", Request("make", ("a", "b")))
    assert refusal(rules)[1] == "command 'make': it takes 1 to 2 arguments; 0 are given"
    assert refusal(rules, "a", "b", "c")[1] == "command 'make': it takes 1 to 2 arguments; 3 are given"
    assert refusal(command(), "a")[1] == "command 'make': it takes 0 arguments; 1 is given"


def test_further_ones() -> None:
    rules = command(arguments=(Argument("a"),), arguments_min=1, more=Argument("[b-d]"), more_max=2)
    rules.check("alice", Request("make", ("a", "b", "d")))
    assert refusal(rules, "a", "b", "e")[1] == "command 'make': argument 3 does not match `[b-d]`"
    assert refusal(rules, "a", "b", "c", "d")[0] == AgentCode.BAD_ARGUMENTS


@pytest.mark.parametrize("given", ["tests", "test\n", "", "te", "TEST", " test"])
def test_a_pattern_holds_for_the_whole_argument(given: str) -> None:
    rules = command(arguments=(Argument("test|build"),), arguments_min=1)
    assert refusal(rules, given)[1] == "command 'make': argument 1 does not match `test|build`"


def test_literals_are_no_patterns() -> None:
    rules = command(arguments=(Argument("a.c", literal=True),), arguments_min=1)
    rules.check("alice", Request("make", ("a.c",)))
    assert refusal(rules, "abc")[1] == "command 'make': argument 1 is not 'a.c' exactly"


def test_dashes_need_to_be_thought_of() -> None:
    sentence = "command 'make': argument 1 begins with a dash (`options = true` would allow it)"
    assert refusal(command(arguments=(Argument(".*"),)), "-x")[1] == sentence
    for rules in (
        command(arguments=(Argument("-[a-z]"),)),
        command(arguments=(Argument(r"\-[a-z]"),)),
        command(arguments=(Argument("-x", literal=True),)),
        command(arguments=(Argument(".*"),), options=True),
    ):
        rules.check("alice", Request("make", ("-x",)))


def test_terminals() -> None:
    terminal = Terminal(24, 80, "xterm")
    command(tty=True).check("alice", Request("make", (), terminal))
    assert refusal(command(), terminal=terminal)[0] == AgentCode.NO_TERMINAL


def test_long_patterns_are_shortened_for_people() -> None:
    assert len(refusal(command(arguments=(Argument("a" * 500),)), "x")[1]) < 150


def test_what_is_executed() -> None:
    assert command(program=("git", "-C", "/x")).argv(("pull",)) == ["git", "-C", "/x", "pull"]
    line = command(program=('echo "$1"',), shell=True).argv(("; rm -rf /",))
    assert line == ["/bin/sh", "-c", 'echo "$1"', "make", "; rm -rf /"]


def test_what_callers_are_told() -> None:
    told = command(arguments=(Argument("a"),), more=Argument("b"), more_max=3, help="Build").to_value()
    assert told == {
        "name": "make", "help": "Build", "arguments": ["a"], "arguments_min": 0, "more": "b", "more_max": 3,
        "tty": False,
    }  # fmt: skip
