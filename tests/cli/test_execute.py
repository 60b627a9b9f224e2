"""`relay exec` as people and scripts use it, with a real agent; on pseudo-terminals where terminals matter."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import invoke
from tests.cli.terminal import Terminal
from tests.process import COMMAND, DEADLINE_S, Running, environment, run, running
from tests.relay_agent.machine import COMMANDS, Machine, agent, until
from tests.relay_client.town import Town as AgentTown


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    town = AgentTown(tmp_path_factory.mktemp("town"))
    town.add("alice", "build")
    with town.open(), agent(town, town.home / "agent", COMMANDS, user="build") as machine:
        yield machine


@pytest.fixture
def machine(shared: Machine) -> Iterator[Machine]:
    yield shared
    until(lambda: shared.is_idle)


def env(machine: Machine) -> dict[str, str]:
    return {"RELAY_URL": machine.town.url("alice")}


def execute(machine: Machine, *words: str, stdin: bytes = b"") -> tuple[int, bytes, str]:
    """(exit code, output, errors) of `relay exec build ...`."""
    done = subprocess.run(
        (*COMMAND, "exec", *words), input=stdin, env=environment(machine.home, env(machine)),
        capture_output=True, timeout=DEADLINE_S, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr.decode()


def test_as_if_it_ran_here(machine: Machine) -> None:
    assert execute(machine, "build", "both") == (3, b"to out\n", "to err\n")
    data = os.urandom(500_000)
    assert execute(machine, "build", "--", "cat", stdin=data) == (0, data, "")
    assert execute(machine, "-n", "build/agent", "cat", stdin=data) == (0, b"", "")
    assert execute(machine, "build", "die", "KILL")[0] == 137
    assert execute(machine, "build", "--", "echo", "--", "a")[2].endswith(
        "begins with a dash (`options = true` would allow it)\n"
    )


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["build", "nothing"], 127, "relay: there is no command 'nothing' here; try: relay exec --list build\n"),
        (["build", "missing"], 127, "relay: command 'missing' cannot start: '/no/such/program': No such file"),
        (["build", "private"], 126, "relay: command 'private' is not offered to alice\n"),
        (["build", "exit", "x"], 126, "relay: command 'exit': argument 1 does not match `[0-9]+`\n"),
        (["build", "nowhere"], 126, "relay: command 'nowhere' cannot start in /no/such/directory: "),
        (["build", "brief"], 124, "relay: command 'brief' was ended: it ran for longer than 0.3 s\n"),
        (["build", "limited"], 124, "relay: command 'limited' was ended: it wrote more than 100000 bytes\n"),
        (["alice", "cat"], 125, "relay: no agent answers: "),
        (["build/other", "cat"], 125, "relay: "),
        (["no-such-user", "cat"], 125, "relay: "),
        (["--list", "alice"], 125, "relay: no agent answers: "),
        (["build"], 2, "relay: say what to run; try: relay exec --list build\n"),
        (["-t", "build", "cat"], 2, "relay: -t needs a terminal"),
        (["--json", "build", "cat"], 2, "relay: --json goes with --list\n"),
        (["--list", "build", "cat"], 2, "relay: --list goes without a command\n"),
        (["a b", "cat"], 2, "relay: "),
    ],
)
def test_what_fails_has_a_code_of_its_own(machine: Machine, words: list[str], code: int, sentence: str) -> None:
    ended, _, errors = execute(machine, *words)
    assert (ended, errors[: len(sentence)]) == (code, sentence)
    assert errors.count("\n") == 1


def test_no_relay_and_a_wrong_password(machine: Machine) -> None:
    for url, sentence in (
        ("relay://alice:secret@127.0.0.1:1", "127.0.0.1:1"),
        (machine.town.url("alice").replace("secret", "wrong"), "login"),
    ):
        code, _, errors = execute(machine, "--url", url, "build", "cat")
        assert code == 125 and sentence in errors


def test_the_list(machine: Machine) -> None:
    code, output, _ = execute(machine, "--list", "build")
    lines = output.decode().splitlines()
    assert code == 0 and "exit [0-9]+" in lines and "python (-t)" in lines
    assert not any("private" in line for line in lines)
    rows = [json.loads(line) for line in execute(machine, "--list", "--json", "build")[1].splitlines()]
    assert {"name": "exit", "arguments": ["[0-9]+"]}.items() <= next(
        row for row in rows if row["name"] == "exit"
    ).items()


def test_the_shell_completes_commands(machine: Machine) -> None:
    profile = machine.home / ".config" / "relay" / "profile.toml"
    profile.parent.mkdir(parents=True, exist_ok=True)
    profile.write_text(f'[default]\nurl = "{machine.town.url("alice")}"\n')
    for line, offered in (("relay exec build exi", ["plain,exit"]), ("relay exec build exit e", [""])):
        words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1), "_RELAY_COMPLETE": "bash_complete"}
        assert run(home=machine.home, env=words).stdout.splitlines() == offered


def test_output_comes_while_it_runs_and_ctrl_c_is_passed_on(machine: Machine) -> None:
    with running("exec", "build", "polite", home=machine.home, env=env(machine)) as command:
        assert command.line() == "ready"
        command.process.send_signal(signal.SIGINT)
        assert command.line() == "interrupted"
        assert command.wait() == 7


def test_a_second_ctrl_c_kills(machine: Machine) -> None:
    with running("exec", "build", "stubborn", home=machine.home, env=env(machine)) as command:
        assert command.line() == "ready"
        command.process.send_signal(signal.SIGINT)
        assert command.line() == "no"
        command.process.send_signal(signal.SIGINT)
        assert command.wait() == 137


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_caller_that_is_ended(machine: Machine, number: signal.Signals) -> None:
    with running("exec", "build", "deaf", home=machine.home, env=env(machine)) as command:
        assert command.line() == "ready"
        code = command.stop(number)
        assert code == (-9 if number == signal.SIGKILL else 128 + number)
        until(lambda: machine.is_idle)


@pytest.mark.parametrize(("closed", "code"), [("<&-", 3), (">&-", 3), ("<&- >&- 2>&-", 3)])
def test_descriptors_that_are_closed(machine: Machine, closed: str, code: int) -> None:
    line = " ".join((*COMMAND, "exec build both", closed))
    done = subprocess.run(
        ["sh", "-c", line], env=environment(machine.home, env(machine)), timeout=DEADLINE_S, check=False
    )
    assert done.returncode == code, machine.audit()[-2:]


def test_nobody_reads_the_output_any_more(machine: Machine) -> None:
    line = " ".join((*COMMAND, "exec build yes | head -n 1; echo ${PIPESTATUS[0]}"))
    done = subprocess.run(
        ["bash", "-c", line], env=environment(machine.home, env(machine)),
        capture_output=True, timeout=DEADLINE_S, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == (b"y\n141\n", b"")


def test_the_relay_goes_while_it_runs(tmp_path_factory: pytest.TempPathFactory) -> None:
    town = AgentTown(tmp_path_factory.mktemp("town"))
    town.add("alice", "build")
    with (
        town.open(),
        agent(town, town.home / "agent", user="build") as machine,
        running("exec", "build", "deaf", home=machine.home, env=env(machine)) as command,
    ):
        assert command.line() == "ready"
        assert isinstance(town.process, Running)
        town.process.process.kill()
        assert command.wait() == 125
        assert command.rest("stderr") == ["relay: the connection to the relay broke; the agent ends the command"]


def test_the_agent_goes_while_it_runs(machine: Machine, tmp_path: Path) -> None:
    with (
        agent(machine.town, tmp_path / "agent", COMMANDS, user="alice") as other,
        running("exec", "alice", "deaf", home=tmp_path, env=env(machine)) as command,
    ):
        assert command.line() == "ready"
        other.log.process.kill()
        assert command.wait() == 125
        (line,) = command.rest("stderr")
        assert line.startswith("relay: the agent was lost: ") and "alice/agent" in line


def terminal(machine: Machine, *words: str) -> Terminal:
    return Terminal("exec", "-t", "build", *words, home=machine.home, env=env(machine))


def test_a_terminal_with_its_size_and_its_keys(machine: Machine) -> None:
    screen = terminal(machine, "terminal")
    screen.wait_for("xterm")
    assert screen.is_raw
    screen.resize(21, 43)
    screen.wait_for("21 43")
    screen.type("\x03")
    assert screen.finish() == 130
    assert "\n" in screen.shown


def test_an_interpreter_on_a_terminal(machine: Machine) -> None:
    screen = terminal(machine, "python")
    screen.wait_for(">>> ")
    screen.type("6 * 7\r")
    screen.wait_for("42\r\n>>> ")
    screen.type("\x04")
    assert screen.finish() == 0


def test_the_terminal_is_restored(machine: Machine) -> None:
    words = " ".join((*COMMAND, "exec", "-t", "build", "python"))
    script = f"{words}; echo code $?; stty -a | grep -c ' icanon'; exec cat"
    screen = Terminal(home=machine.home, env=env(machine), command=("/bin/bash", "-c", script))
    screen.wait_for(">>> ")
    screen.type("1\r~.")
    screen.wait_for("code 125\r\n1\r\n")
    screen.hang_up()


def test_a_terminal_that_is_closed_ends_it_all(machine: Machine) -> None:
    screen = terminal(machine, "python")
    screen.wait_for(">>> ")
    assert not machine.is_idle
    assert screen.hang_up() == 129
    until(lambda: machine.is_idle)


def test_no_terminal_where_none_is_allowed(machine: Machine) -> None:
    screen = terminal(machine, "cat")
    screen.wait_for("runs without a terminal")
    assert screen.finish() == 126


def test_help_shows_the_exit_codes() -> None:
    shown = invoke("exec", "--help").output
    assert all(code in shown for code in ("124", "125", "126", "127"))
