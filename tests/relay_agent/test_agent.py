"""The agent's life: what it offers, and what is left when it, its caller or the relay goes."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from relay_agent.execution import Execution, offered_commands
from relay_agent.keeper import descendants
from relay_agent.records import AgentCode, Exit, Stderr, Stdout
from relay_client import Client, StreamReset, errors

from relay.protocol.codes import ErrorCode
from tests.process import running
from tests.relay_agent.machine import Machine, agent, is_alive, until
from tests.relay_client.peer import DEADLINE_S
from tests.relay_client.town import Town


def ready(execution: Execution) -> Iterator[Stdout | Stderr | Exit]:
    """The records behind the first line of `deaf`, which has to be killed."""
    records = iter(execution)
    assert next(records) == Stdout(b"ready\n")
    return records


def everything(machine: Machine) -> list[int]:
    """The agent and all of its processes."""
    return [machine.pid, *descendants(machine.pid)[0]]


def gone(pids: list[int]) -> bool:
    return not any(map(is_alive, pids))


def test_each_sees_what_is_offered_to_him(alice: Client, machine: Machine) -> None:
    rows = {row["name"]: row for row in offered_commands(alice, "build")}
    assert "private" not in rows
    assert rows["exit"]["arguments"] == ["[0-9]+"] and rows["exit"]["arguments_min"] == 1
    assert rows["python"]["tty"] is True


def test_sigterm_ends_the_commands_and_tells_why(alice: Client, town: Town, tmp_path: Path) -> None:
    with agent(town, tmp_path / "agent") as machine:
        records = ready(Execution(alice, "ci", "deaf"))
        all_of_it = everything(machine)
        machine.log.process.send_signal(signal.SIGTERM)
        exit = Exit(137, "KILL", AgentCode.AGENT_STOPPED, "command 'deaf' was ended: the agent was stopped")
        assert list(records) == [exit]
        assert machine.log.wait() == 0
        assert gone(all_of_it)
        assert machine.audit()[-1]["reason"] == AgentCode.AGENT_STOPPED
        assert not any("Traceback" in line for line in machine.log.rest("stderr"))


def test_a_killed_agent_leaves_no_processes(alice: Client, town: Town, tmp_path: Path) -> None:
    with agent(town, tmp_path / "agent") as machine:
        execution = Execution(alice, "ci", "deaf")
        records = ready(execution)
        all_of_it = everything(machine)
        machine.log.process.kill()
        with pytest.raises(StreamReset) as reset:
            list(records)
        assert reset.value.code == ErrorCode.SESSION_GONE
        machine.log.wait()
        until(lambda: gone(all_of_it))
        assert [row["event"] for row in machine.audit()] == ["began"]


def test_a_killed_keeper_is_the_end_of_its_run(alice: Client, town: Town, tmp_path: Path) -> None:
    with agent(town, tmp_path / "agent") as machine:
        records = ready(Execution(alice, "ci", "deaf"))
        keeper = next(pid for pid in everything(machine)[1:] if descendants(pid)[0])
        all_of_it = descendants(keeper)[0]
        os.kill(keeper, signal.SIGKILL)
        (exit,) = records
        assert isinstance(exit, Exit) and exit.reason == AgentCode.KEEPER_LOST
        until(lambda: gone(all_of_it))
        assert Execution(alice, "ci", "exit", ["4"]).communicate().exit.code == 4


def test_a_killed_relay_ends_both_ends(tmp_path: Path) -> None:
    town = Town(tmp_path / "town")
    town.home.mkdir()
    town.add("alice", "ci")
    with (
        town.open(),
        agent(town, tmp_path / "agent") as machine,
        Client(town.url("alice"), timeout=DEADLINE_S) as alice,
    ):
        records = ready(Execution(alice, "ci", "deaf"))
        assert town.process is not None
        town.process.process.kill()
        town.process.wait()
        with pytest.raises(errors.ConnectionLost):
            list(records)
        until(lambda: machine.is_idle)
        assert [row["event"] for row in machine.audit()] == ["began", "ended"]
        with town.open():  # the agent comes back by itself
            until(lambda: comes_back(alice))


def comes_back(alice: Client) -> bool:
    try:
        return Execution(alice, "ci", "exit", ["0"]).communicate().exit.code == 0
    except errors.RelayError:
        return False


def test_a_caller_without_a_connection_is_gone(town: Town, machine: Machine) -> None:
    alice = Client(town.url("alice"), timeout=DEADLINE_S)
    ready(Execution(alice, "build", "deaf"))
    assert not machine.is_idle
    alice._abandon()
    until(lambda: machine.is_idle)


def test_the_limit_of_all_runs(alice: Client, town: Town, tmp_path: Path) -> None:
    commands = "concurrency = 2\n[command.sleep]\nprogram = ['sleep', '60']\nusers = ['*']\ngrace_s = 0\n"
    with agent(town, tmp_path / "agent", commands):
        both = [Execution(alice, "ci", "sleep") for _ in range(2)]
        with pytest.raises(StreamReset) as refusal:
            Execution(alice, "ci", "sleep")
        assert refusal.value.code == AgentCode.BUSY
        assert refusal.value.sentence == "2 commands run here already; try again later"
        both[0].signal("TERM")
        assert list(both[0]) == [Exit(143, "TERM", 0, "")]
        until(lambda: starts(alice))


def starts(alice: Client) -> bool:
    try:
        Execution(alice, "ci", "sleep")
    except StreamReset:
        return False
    return True


def test_nothing_runs_unaudited(alice: Client, town: Town, tmp_path: Path) -> None:
    with agent(town, tmp_path / "agent", "audit = 'log'\n[command.id]\nprogram = 'id'\nusers = ['*']\n") as machine:
        (machine.home / "log").unlink()
        (machine.home / "log").symlink_to("/dev/full")
        with pytest.raises(StreamReset) as refusal:
            Execution(alice, "ci", "id")
        assert refusal.value.code == AgentCode.NO_AUDIT
        assert machine.log.await_line("cannot be written, so nothing runs")


def test_an_audit_log_that_cannot_be_written_at_the_start(town: Town, tmp_path: Path) -> None:
    text = f'url = "{town.url("ci")}"\naudit = "no/log"\n[command.id]\nprogram = "id"\nusers = ["*"]\n'
    (tmp_path / "agent.toml").write_text(text)
    with running("agent", "--config", "agent.toml", home=tmp_path) as process:
        assert process.line("stderr") == f"relay: {tmp_path}/no/log: cannot be written: No such file or directory"
        assert process.wait() == 1


def test_a_wrong_password_ends_it(town: Town, tmp_path: Path) -> None:
    text = f'url = "{town.url("ci").replace("secret", "wrong")}"\n[command.id]\nprogram = "id"\nusers = ["*"]\n'
    (tmp_path / "agent.toml").write_text(text)
    with running("agent", "--config", "agent.toml", home=tmp_path) as process:
        assert "the login as ci" in process.line("stderr")
        assert process.wait() == 4


def test_several_agents_of_one_user(alice: Client, town: Town, tmp_path: Path) -> None:
    where = "[command.where]\nprogram = 'pwd'\nusers = ['*']\n"
    with (
        agent(town, tmp_path / "a", f"device = 'a'\n{where}directory = 'place'\n"),
        agent(town, tmp_path / "b", f"device = 'b'\n{where}directory = 'place'\n"),
    ):
        for name in ("a", "b"):
            done = Execution(alice, f"ci/{name}", "where").communicate()
            assert done.stdout.decode() == f"{tmp_path}/{name}/place\n"
