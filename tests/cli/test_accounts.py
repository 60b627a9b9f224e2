"""`relay user`: on a data directory of its own, and beside a running relay."""

import stat
from pathlib import Path

import pytest

from tests.cli.conftest import Town, accounts
from tests.cli.terminal import Terminal
from tests.process import run, running


def add(home: Path, name: str, password: bytes = b"secret\n") -> str:
    done = run("user", "add", name, "--password-stdin", home=home, stdin=password)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_the_life_of_an_account(tmp_path: Path) -> None:
    assert add(tmp_path, "alice") == "added user alice\n"
    add(tmp_path, "bob")
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    assert accounts(tmp_path)["alice"] | {"created": ""} == {
        "name": "alice", "bot": False, "disabled": False, "created": "",
    }  # fmt: skip
    assert run("user", "disable", "alice", home=tmp_path).returncode == 0
    assert accounts(tmp_path)["alice"]["disabled"] is True
    assert " disabled" in run("user", "list", home=tmp_path).stdout
    assert run("user", "enable", "alice", home=tmp_path).returncode == 0
    assert accounts(tmp_path)["alice"]["disabled"] is False
    assert run("user", "remove", "alice", "--yes", home=tmp_path).returncode == 0
    assert list(accounts(tmp_path)) == ["bob"]


def test_a_bot_gets_a_secret_alone_on_stdout(tmp_path: Path) -> None:
    done = run("user", "add", "--bot", "echo", home=tmp_path)
    assert done.returncode == 0
    assert len(done.stdout.strip()) >= 40 and done.stdout.count("\n") == 1
    assert "shown only now" in done.stderr
    assert done.stdout.strip() not in done.stderr
    again = run("user", "password", "echo", "--generate", home=tmp_path)
    assert again.returncode == 0 and again.stdout != done.stdout
    assert accounts(tmp_path)["echo"]["bot"] is True


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["user", "add", "alice", "--password-stdin"], "relay: alice exists already; `relay user password alice`"),
        (["user", "add", "ALICE", "--password-stdin"], "'ALICE' is kept as 'alice'\nrelay: alice exists already"),
        (["user", "disable", "carol"], "relay: no account 'carol'; `relay user list` shows them all"),
        (["user", "enable", "carol"], "relay: no account 'carol'"),
        (["user", "password", "carol", "--password-stdin"], "relay: no account 'carol'"),
        (["user", "remove", "carol", "--yes"], "relay: no account 'carol'"),
        (["user", "list", "--data", "nowhere"], "relay: no relay's data is in nowhere; name its directory with --data"),
        (["user", "disable", "alice", "--data", "file"], "relay: the data directory file cannot be read: Not a"),
        (["user", "list", "--data", "."], "relay: no relay's data is in .; name its directory with --data, or"),
        (["user", "add", "bob", "--password-stdin", "--data", "file"], "relay: cannot make the data directory file: "),
        (["user", "add", "bob", "--password-stdin", "--data", "file/data"], "relay: cannot make the data directory f"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_a_sentence(tmp_path: Path, words: list[str], sentence: str) -> None:
    add(tmp_path, "alice")
    (tmp_path / "file").touch()
    done = run(*words, home=tmp_path, stdin=b"secret")
    assert done.returncode == 1
    assert done.stderr.startswith(sentence)
    assert done.stdout == ""
    assert list(accounts(tmp_path)) == ["alice"]


def test_removing_without_a_terminal_needs_yes(tmp_path: Path) -> None:
    add(tmp_path, "alice")
    done = run("user", "remove", "alice", home=tmp_path)
    assert (done.returncode, done.stderr) == (2, "relay: there is no terminal to ask on; add --yes\n")
    assert list(accounts(tmp_path)) == ["alice"]


@pytest.mark.parametrize(("answer", "code", "left"), [("n\n", 1, ["alice"]), ("y\n", 0, [])])
def test_removing_asks_on_a_terminal(tmp_path: Path, answer: str, code: int, left: list[str]) -> None:
    add(tmp_path, "alice")
    terminal = Terminal("user", "remove", "alice", home=tmp_path)
    terminal.wait_for("Remove alice, with all devices? This cannot be undone. [y/N]: ")
    terminal.type(answer)
    assert terminal.finish() == code
    assert list(accounts(tmp_path)) == left


def test_the_data_directory_comes_from_flag_variable_and_file(tmp_path: Path) -> None:
    (tmp_path / "relay.toml").write_text('data = "from-file"\n')
    secret = b"secret"
    words = ("user", "add", "alice", "--password-stdin")
    run(*words, "--config", "relay.toml", home=tmp_path, stdin=secret)
    run(*words, home=tmp_path, stdin=secret, env={"RELAY_DATA": "from-env"})
    run(*words, "--data", "from-flag", home=tmp_path, stdin=secret, env={"RELAY_DATA": "from-env"})
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {"from-file", "from-env", "from-flag"}


def test_the_database_knows_no_password(tmp_path: Path) -> None:
    add(tmp_path, "alice", b"correct horse battery staple")
    files = [path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file()]
    assert any(b"alice" in data for data in files)
    assert not any(b"horse" in data for data in files)


def test_disabling_a_user_ends_her_live_session_and_refuses_the_next(town: Town) -> None:
    alice, bob = town.user("alice"), town.user("bob")
    with running("listen", "--text", "--url", town.url(alice), home=town.home) as listening:
        assert town.run("send", alice, "are you there?", user=bob).returncode == 0
        assert listening.line().endswith("are you there?")
        assert town.run("user", "disable", alice, *town.on_data).returncode == 0
        assert listening.wait() == 3
        assert "disabled" in "".join(listening.rest("stderr"))
    refused = town.run("who", user=alice)
    assert refused.returncode == 4
    assert refused.stderr.count("\n") == 1
    assert town.run("user", "enable", alice, *town.on_data).returncode == 0
    assert town.run("who", user=alice).returncode == 0


def test_an_account_that_is_made_while_the_relay_runs_can_log_in_at_once(town: Town) -> None:
    alice = town.user("alice")
    assert alice in town.run("who", user=alice).stdout


def test_a_new_password_holds_at_once_and_ends_old_sessions(town: Town) -> None:
    alice, bob = town.user("alice"), town.user("bob")
    with running("listen", "--text", "--url", town.url(alice), home=town.home) as listening:
        town.run("send", alice, "you are online", user=bob)
        assert listening.line().endswith("you are online")
        changed = town.run("user", "password", alice, "--password-stdin", *town.on_data, stdin=b"new")
        assert changed.returncode == 0
        assert listening.wait() == 3
    assert town.run("who", user=alice).returncode == 4
    assert town.run("who", "--url", f"relay://{alice}:new@{town.address}").returncode == 0


def test_a_removed_user_is_gone(town: Town) -> None:
    alice, bob = town.user("alice"), town.user("bob")
    assert town.run("user", "remove", alice, "--yes", *town.on_data).returncode == 0
    assert town.run("who", user=alice).returncode == 4
    refused = town.run("send", alice, "hi", user=bob)
    assert refused.returncode == 1
    assert alice in refused.stderr
