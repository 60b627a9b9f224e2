"""`relay agent`: its configuration as people meet it. What it does: tests/relay_agent."""

from pathlib import Path

from tests.cli.conftest import invoke
from tests.process import run


def test_the_example_passes_the_check(tmp_path: Path) -> None:
    example = invoke("agent", "example")
    assert example.exit_code == 0
    (tmp_path / "agent.toml").write_text(example.stdout)
    done = run("agent", "--config", "agent.toml", "--check", home=tmp_path)
    assert done.returncode == 0
    assert done.stdout == f"agent.toml: uptime, make, log, disk and python3; audit log {tmp_path}/agent.audit.jsonl\n"


def test_the_ready_made_one_passes_the_check(tmp_path: Path) -> None:
    ready_made = Path(__file__).parents[2] / "clients" / "bots" / "agent.toml"
    done = run("agent", "--config", str(ready_made), "--check", home=tmp_path)
    assert done.returncode == 0 and done.stderr == ""


def test_a_mistake_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text('[command.x]\nprogram = "x"\nuser = ["alice"]\n')
    done = run("agent", "--config", "agent.toml", "--check", home=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "relay: agent.toml, line 3: command.x.user: 'user' is not known here; did you mean 'users'?\n"


def test_what_this_machine_lacks_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text(
        '[defaults]\nusers = ["alice"]\n'
        '[command.a]\nprogram = "no-such-program"\n'
        '[command.b]\nprogram = "true"\ndirectory = "no/such"\n'
        '[command.c]\nprogram = "true"\nrun_as = "no-such-user"\n'
        '[command.d]\nprogram = "./no-such-file"\n'
    )
    done = run("agent", "--config", "agent.toml", "--check", home=tmp_path)
    assert done.returncode == 0
    assert done.stderr.splitlines() == [
        "relay: warning: command a: there is no program 'no-such-program'",
        f"relay: warning: command b: there is no directory {tmp_path}/no/such",
        "relay: warning: command c: there is no user 'no-such-user' on this machine",
        "relay: warning: command d: there is no program './no-such-file'",
    ]


def test_usage(tmp_path: Path) -> None:
    assert invoke("agent").exit_code == 2
    done = run("agent", "--config", "missing.toml", home=tmp_path)
    assert (done.returncode, done.stderr) == (1, "relay: missing.toml: cannot be read: No such file or directory\n")
    (tmp_path / "agent.toml").write_text('[command.x]\nprogram = "true"\nusers = ["*"]\n')
    done = run("agent", "--config", "agent.toml", home=tmp_path)
    assert done.returncode == 2 and "not logged in" in done.stderr
