"""Runs through a real relay and a real agent: streams, exit codes, limits, signals, and nothing left behind."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgpack
import pytest
from relay_agent.execution import Execution
from relay_agent.records import AgentCode, Exit, Stderr, Stdout, Terminal
from relay_agent.run import exit_code, signal_name
from relay_client import Client, StreamReset

from tests.relay_agent.machine import Machine, until


@pytest.fixture(autouse=True)
def nothing_left(machine: Machine) -> Iterator[None]:
    """After each run the agent has its spare keeper, and not one descriptor or process more than before."""
    until(lambda: machine.is_idle)
    before = machine.descriptors()
    yield
    until(lambda: machine.is_idle)
    until(lambda: machine.descriptors() <= before)


def next_output(execution: Iterator[Stdout | Stderr | Exit]) -> bytes:
    record = next(execution)
    assert isinstance(record, Stdout)
    return record.data


def last(execution: Iterator[Stdout | Stderr | Exit]) -> Exit:
    *_, record = execution
    assert isinstance(record, Exit)
    return record


def test_output_apart_and_the_exit_code(alice: Client, machine: Machine) -> None:
    done = Execution(alice, "build", "both").communicate()
    assert done == (Exit(3, "", 0, ""), b"to out\n", b"to err\n")
    row = machine.audited("ended", "both")
    assert (row["user"], row["session"], row["exit_code"]) == ("alice", alice.session, 3)
    assert (row["stdout_bytes"], row["stderr_bytes"], row["stdin_bytes"]) == (7, 7, 0)
    assert machine.audited("began", "both")["run"] == row["run"]


def test_standard_input_there_and_back(alice: Client, machine: Machine) -> None:
    data = os.urandom(3_000_000)
    assert Execution(alice, "build", "cat").communicate(data) == (Exit(0, "", 0, ""), data, b"")
    row = machine.audited("ended", "cat")
    assert (row["stdin_bytes"], row["stdout_bytes"]) == (len(data), len(data))


def test_input_that_nobody_reads(alice: Client, machine: Machine) -> None:
    assert Execution(alice, "build", "exit", ["0"]).communicate(bytes(3_000_000)).exit.code == 0


def test_arguments_arrive_as_they_are(alice: Client, machine: Machine) -> None:
    odd = "$(touch /tmp/x); `id` \"quoted\" 'single' * \u00fc".replace("x", "y")
    assert Execution(alice, "build", "echo", [odd]).communicate().stdout.decode() == odd + "\n"
    assert Execution(alice, "build", "echo", ["one", "two", "three"]).communicate().stdout == b"one\ntwo\nthree\n"


def test_directory_and_environment(alice: Client, machine: Machine) -> None:
    where, *lines = Execution(alice, "build", "where").communicate().stdout.decode().splitlines()
    environment = dict(line.partition("=")[::2] for line in lines)
    assert where == str(machine.home / "place")
    assert environment["COLOUR"] == "blue" and environment["HOME"] == str(machine.home)
    assert environment["RELAY_CALLER"] == "alice" and environment["RELAY_CALLER_SESSION"] == alice.session
    assert "PYTHONUNBUFFERED" not in environment and "RELAY_URL" not in environment


@pytest.mark.parametrize(("name", "number"), [("TERM", 15), ("KILL", 9), ("HUP", 1)])
def test_a_command_that_dies_by_a_signal(alice: Client, machine: Machine, name: str, number: int) -> None:
    assert Execution(alice, "build", "die", [name]).communicate().exit == Exit(128 + number, name, 0, "")


def test_signals_reach_the_process_group(alice: Client, machine: Machine) -> None:
    execution = Execution(alice, "build", "polite")
    records = iter(execution)
    assert next_output(records) == b"ready\n"
    execution.signal("INT")
    assert next_output(records) == b"interrupted\n"
    assert last(records) == Exit(7, "", 0, "")


def test_kill_ends_what_ignores_everything_else(alice: Client, machine: Machine) -> None:
    execution = Execution(alice, "build", "deaf")
    records = iter(execution)
    next_output(records)
    execution.signal("INT")
    execution.signal("KILL")
    assert last(records) == Exit(137, "KILL", 0, "")


def test_a_signal_gets_through_while_output_waits(alice: Client, machine: Machine) -> None:
    execution = Execution(alice, "build", "yes")
    records = iter(execution)
    next_output(records)
    execution.signal("TERM")
    assert last(records).signal == "TERM"


def test_a_signal_gets_through_while_input_waits(alice: Client, machine: Machine) -> None:
    execution = Execution(alice, "build", "sleep")
    thread = threading.Thread(target=execution.write_stdin, args=(bytes(1_000_000),))
    thread.start()
    until(lambda: execution.granted == 0)
    execution.signal("TERM")
    assert last(iter(execution)).signal == "TERM"
    thread.join(30)


def test_background_processes_end_with_the_command(alice: Client, machine: Machine) -> None:
    done = Execution(alice, "build", "leaves").communicate()
    assert done == (Exit(0, "", 0, ""), b"left\n", b"")


def test_a_caller_who_leaves_ends_the_command(alice: Client, machine: Machine) -> None:
    with Execution(alice, "build", "deaf") as execution:
        next_output(iter(execution))
    row = machine.audited("ended", "deaf")
    assert (row["signal"], row["reason"]) == ("KILL", None)


def test_the_output_limit(alice: Client, machine: Machine) -> None:
    done = Execution(alice, "build", "limited").communicate()
    assert len(done.stdout) == 100_000
    assert done.exit == Exit(
        143, "TERM", AgentCode.OUTPUT_LIMIT, "command 'limited' was ended: it wrote more than 100000 bytes"
    )
    assert machine.audited("ended", "limited")["reason"] == AgentCode.OUTPUT_LIMIT


def test_the_time_limit(alice: Client, machine: Machine) -> None:
    exit = Execution(alice, "build", "brief").communicate().exit
    assert exit == Exit(143, "TERM", AgentCode.TIME_LIMIT, "command 'brief' was ended: it ran for longer than 0.3 s")


def test_the_limit_of_processes(alice: Client, machine: Machine) -> None:
    exit = Execution(alice, "build", "bomb").communicate().exit
    assert exit.reason == AgentCode.PROCESS_LIMIT
    assert exit.sentence == "command 'bomb' was ended: it had more than 30 processes and threads"


def test_output_without_end_stays_where_it_is(alice: Client, machine: Machine) -> None:
    execution = Execution(alice, "build", "yes")
    records = iter(execution)
    received = sum(len(next_output(records)) for _ in range(300))
    before = memory_kb(machine.pid), memory_kb(town_pid(machine))
    resting = time.monotonic() + 0.5
    while time.monotonic() < resting:  # nobody reads meanwhile
        time.sleep(0.05)
    received += sum(len(next_output(records)) for _ in range(300))
    execution.close()
    row = machine.audited("ended", "yes")
    # What the agent has read and we have not: the window of the stream, and what was on the way.
    assert 0 <= row["stdout_bytes"] - received < 1_000_000
    assert memory_kb(machine.pid) - before[0] < 8_000
    assert memory_kb(town_pid(machine)) - before[1] < 8_000


def town_pid(machine: Machine) -> int:
    assert machine.town.process is not None
    return machine.town.process.process.pid


def memory_kb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


def test_a_terminal(alice: Client, machine: Machine) -> None:
    execution = Execution(alice, "build", "terminal", terminal=Terminal(33, 99, "xterm-256color"))
    records = iter(execution)
    shown = b""
    while b"xterm-256color" not in shown:
        shown += next_output(records)
    assert b"33 99" in shown
    execution.resize(12, 34)
    while b"12 34" not in shown:
        shown += next_output(records)
    execution.write_stdin(b"\x03")  # the terminal makes a signal of it
    assert last(records).signal == "INT"


def test_a_command_that_lets_go_of_its_terminal(alice: Client, machine: Machine) -> None:
    execution = Execution(alice, "build", "aside", terminal=Terminal(24, 80, "xterm"))
    done = execution.communicate(b"x" * 100_000)
    assert (done.exit.code, done.stdout[:5]) == (6, b"bye\r\n")


def test_a_terminal_that_is_closed(alice: Client, machine: Machine) -> None:
    with Execution(alice, "build", "python", terminal=Terminal(24, 80, "xterm")) as execution:
        records = iter(execution)
        shown = b""
        while b">>>" not in shown:
            shown += next_output(records)
    assert machine.audited("ended", "python")["tty"] is True


REFUSALS = [
    ("nothing", [], AgentCode.NO_SUCH_COMMAND, "there is no command 'nothing' here"),
    ("slep", [], AgentCode.NO_SUCH_COMMAND, "there is no command 'slep' here; did you mean 'sleep'?"),
    ("private", [], AgentCode.USER_NOT_ALLOWED, "command 'private' is not offered to alice"),
    ("exit", [], AgentCode.BAD_ARGUMENTS, "command 'exit': it takes 1 argument; 0 are given"),
    ("exit", ["1", "2"], AgentCode.BAD_ARGUMENTS, "command 'exit': it takes 1 argument; 2 are given"),
    ("exit", ["x1"], AgentCode.BAD_ARGUMENTS, "command 'exit': argument 1 does not match `[0-9]+`"),
    ("exit", ["1\n"], AgentCode.BAD_ARGUMENTS, "command 'exit': argument 1 does not match `[0-9]+`"),
    ("echo", ["-n"], AgentCode.BAD_ARGUMENTS, "argument 1 begins with a dash (`options = true` would allow it)"),
    ("missing", [], AgentCode.NO_PROGRAM, "command 'missing' cannot start: '/no/such/program': No such file"),
    ("nowhere", [], AgentCode.CANNOT_START, "command 'nowhere' cannot start in /no/such/directory: No such file"),
]


@pytest.mark.parametrize("refused", REFUSALS, ids=lambda refused: f"{refused[0]}-{refused[2].name}")
def test_refusals_name_the_rule(
    alice: Client, machine: Machine, refused: tuple[str, list[str], AgentCode, str]
) -> None:
    command, arguments, code, sentence = refused
    with pytest.raises(StreamReset) as refusal:
        Execution(alice, "build", command, arguments)
    assert refusal.value.code == code and sentence in refusal.value.sentence
    row = machine.audited("refused", command)
    assert row["code"] == code and sentence in row["rule"] and row["user"] == "alice"


def test_long_arguments_of_what_is_refused_are_not_audited(alice: Client, machine: Machine) -> None:
    with pytest.raises(StreamReset):
        Execution(alice, "build", "exit", ["x" * 3000])
    assert machine.audited("refused", "exit")["arguments"] == "left out: 1 arguments"


def test_no_terminal_where_none_is_allowed(alice: Client, machine: Machine) -> None:
    with pytest.raises(StreamReset) as refusal:
        Execution(alice, "build", "cat", terminal=Terminal(24, 80, "xterm"))
    assert refusal.value.code == AgentCode.NO_TERMINAL


def test_the_limit_of_runs(alice: Client, machine: Machine) -> None:
    with Execution(alice, "build", "single"), pytest.raises(StreamReset) as refusal:
        Execution(alice, "build", "single")
    assert refusal.value.code == AgentCode.BUSY
    assert refusal.value.sentence == "command 'single' runs 1 times already; try again later"


def test_many_runs_at_once(alice: Client, machine: Machine) -> None:
    executions = [Execution(alice, "build", "cat") for _ in range(10)]
    for number, execution in enumerate(executions):
        assert execution.communicate(b"%d" % number).stdout == b"%d" % number


@pytest.mark.parametrize(
    "opening",
    [None, "make", {}, {"command": 1}, {"command": "cat", "arguments": "x"}, {"command": "cat", "arguments": ["\0"]},
     {"command": "cat", "arguments": ["x"] * 257}, {"command": "cat", "terminal": {"rows": -1, "columns": 1}},
     {"command": "cat", "arguments": ["x" * 70_000]}, {"command": "cat", "terminal": {"term": "a b"}}],
)  # fmt: skip
def test_requests_that_are_none(alice: Client, machine: Machine, opening: object) -> None:
    with pytest.raises(StreamReset) as refusal:
        alice.streams.open("build", "exec", opening)  # type: ignore[arg-type]
    assert refusal.value.code == AgentCode.BAD_REQUEST


@pytest.mark.parametrize(
    "said", [b"\0\0\0\1\xc0", b"\0\0\0\0", b"\xff" * 8, b"\0\0\0\4\x92\x03\xa1X", b"\0\0\0\4\x92\x10\xc4\0"]
)
def test_records_that_are_none_end_the_run(alice: Client, machine: Machine, said: bytes) -> None:
    stream = alice.streams.open("build", "exec", {"command": "sleep"})
    stream.write(said)
    with pytest.raises(StreamReset) as reset:
        stream.read()
    assert reset.value.code == AgentCode.BAD_REQUEST and reset.value.sentence


def test_more_input_than_was_granted_ends_the_run(alice: Client, machine: Machine) -> None:
    execution = Execution(alice, "build", "sleep")
    execution._granted = 10_000_000
    threading.Thread(target=execution.write_stdin, args=(bytes(1_000_000),), daemon=True).start()
    with pytest.raises(StreamReset) as reset:
        list(execution)
    assert reset.value.code == AgentCode.BAD_REQUEST and "more than were granted" in reset.value.sentence


def test_exit_codes() -> None:
    assert [exit_code(code) for code in (0, 3, -9, -15)] == [0, 3, 137, 143]
    assert [signal_name(code) for code in (0, 3, -9, -15, -40)] == ["", "", "KILL", "TERM", "40"]


def test_a_stranger_with_the_document_alone(alice: Client, machine: Machine) -> None:
    """docs/agent.md, "The protocol", with nothing of ours but the stream."""

    def say(*fields: object) -> None:
        payload = msgpack.packb(fields)
        stream.write(len(payload).to_bytes(4, "big") + payload)

    def hear() -> list[object]:
        size = int.from_bytes(stream.read(4), "big")
        return msgpack.unpackb(stream.read(size))  # type: ignore[no-any-return]

    stream = alice.streams.open("build", "exec", {"command": "cat", "arguments": [], "terminal": None})
    assert stream.answer == {"version": 1}
    assert hear() == [18, 262144]
    say(77, "of a later version")
    say(1, b"hello")
    assert hear() == [16, b"hello"]
    say(4, 24, 80)
    say(2)
    assert hear() == [19, 0, "", 0, ""]
    assert stream.read() == b""
    stream.close()
