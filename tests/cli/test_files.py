"""relay file against a real relay process."""

import hashlib
import json
import os
import resource
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.conftest import Town, invoke
from tests.cli.terminal import Terminal
from tests.process import DEADLINE_S, Running, run, running

CONTENT = os.urandom(3_000_000)


@contextmanager
def receiving(town: Town, user: str, *words: str) -> Iterator[Running]:
    """A receiver in a home of its own, that is ready."""
    home = town.home / "receiver"
    (home / "inbox").mkdir(parents=True, exist_ok=True)
    with running("file", "receive", "inbox", *words, home=home, env=town.env(user)) as process:
        process.await_line("receiving into inbox")
        yield process


def inbox(town: Town) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (town.home / "receiver/inbox").iterdir()}


def test_a_file_directly_from_command_to_command(town: Town) -> None:
    alice, bob = town.user("alice"), town.user("bob")
    (town.home / "data.bin").write_bytes(CONTENT)
    (town.home / "note.txt").write_text("hello")
    with receiving(town, bob, "--json", "--count", "2", "--from", alice) as receiver:
        sent = town.run("file", "send", "--direct", "--json", "data.bin", "note.txt", bob, user=alice)
        assert (sent.returncode, sent.stderr) == (0, "")
        rows = [json.loads(line) for line in sent.stdout.splitlines()]
        assert [(row["name"], row["size"], row["type"]) for row in rows] == [
            ("data.bin", len(CONTENT), "application/octet-stream"),
            ("note.txt", 5, "text/plain"),
        ]
        received = [json.loads(receiver.line()) for _ in rows]
        assert [row["hash"] for row in received] == [row["hash"] for row in rows]
        assert received[0]["hash"] == hashlib.sha256(CONTENT).hexdigest() and received[0]["from"].startswith(alice)
        assert receiver.wait() == 0
    assert inbox(town) == {"data.bin": CONTENT, "note.txt": b"hello"}


def test_messages_about_files_are_shown_readably(town: Town) -> None:
    alice, bob = town.user("alice"), town.user("bob")
    with receiving(town, bob) as receiver:
        done = town.run("file", "send", "--direct", "-", bob, "--name", "log.txt", user=alice, stdin=b"x" * 1500)
        assert done.stdout == f"sent log.txt (1.5 kB) to {bob}\n"
        assert receiver.line().startswith(f"received inbox/log.txt (1.5 kB) from {alice}/")
        assert receiver.stop(signal.SIGINT) == 130
    (line,) = town.run("history", alice, user=bob).stdout.splitlines()
    assert line.endswith(f"{alice} sent log.txt (1.5 kB), directly")
    row = json.loads(town.run("history", alice, "--json", user=bob).stdout)
    assert row["content_type"] == "application/vnd.relay.file"
    about = {"id": "", "name": "log.txt", "size": 1500, "type": "text/plain"}
    assert row["file"] == about | {"hash": hashlib.sha256(b"x" * 1500).hexdigest()}


def test_refusals_are_sentences(town: Town) -> None:
    alice, bob = town.user("alice"), town.user("bob")
    (town.home / "data.bin").write_bytes(b"data")
    nobody = town.run("file", "send", "--direct", "data.bin", bob, user=alice)
    there = f"relay: {bob} does not receive files at this moment: leave out --direct, or send again when "
    assert (nobody.returncode, nobody.stderr) == (1, there + "`relay file receive` runs there\n")
    missing = town.run("file", "send", "--direct", "none.bin", bob, user=alice)
    assert missing.returncode == 1 and missing.stderr == "relay: none.bin cannot be read: No such file or directory\n"
    with receiving(town, bob, "--from", "carol"):
        unwanted = town.run("file", "send", "--direct", "data.bin", bob, user=alice)
        assert unwanted.returncode == 1 and "does not want it" in unwanted.stderr
    stranger = town.run("file", "send", "data.bin", "nobody-of-this-name", user=alice)
    assert stranger.returncode == 1 and stranger.stderr.startswith("relay: there is no user")
    nowhere = town.run("file", "receive", "nowhere", user=bob)
    assert nowhere.returncode == 1 and "nowhere" in nowhere.stderr


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("send", "-", "bob"), "--name"),
        (("send", "-", "a", "bob", "--name", "x"), "goes alone"),
        (("send", "a", "b", "bob", "--name", "x"), "one file"),
        (("send", "bob"), "missing argument"),
        (("get", "k3x9a7bcdefg", "-o", "-", "--json"), "standard output"),
    ],
)
def test_wrong_usage(words: tuple[str, ...], why: str) -> None:
    result = invoke("file", *words, "--url", "relay://a:b@127.0.0.1:1")
    assert result.exit_code == 2 and why in result.stderr


def test_ctrl_c_leaves_something_that_the_same_command_goes_on_with(town: Town) -> None:
    alice, bob = town.user("alice"), town.user("bob")
    with (town.home / "large.bin").open("wb") as file:
        file.truncate(2_000_000_000)
    words = "file", "send", "--direct", "large.bin", bob
    with receiving(town, bob) as receiver, running(*words, home=town.home, env=town.env(alice)) as sender:
        await_growth(town)
        assert sender.stop(signal.SIGINT) == 130
        sender.await_line("the same command goes on from here")
        (part,) = (town.home / "receiver/inbox").iterdir()
        there = part.stat().st_size
        assert there % 2**20 == 0
        with running(*words, home=town.home, env=town.env(alice)) as again:
            await_growth(town, there)
            assert part.exists() and again.stop(signal.SIGTERM) == 143
        assert receiver.stop(signal.SIGINT) == 130
    with running(*words, home=town.home, env=town.env(alice)) as waiting:
        waiting.await_line("a transfer was interrupted, and goes on as soon as it can")
        assert waiting.stop(signal.SIGINT) == 130


def await_growth(town: Town, size: int = 2**21) -> None:
    """Until so many bytes and some more are there."""
    deadline = time.monotonic() + DEADLINE_S
    while not any(path.stat().st_size > size for path in (town.home / "receiver/inbox").iterdir()):
        assert time.monotonic() < deadline, "nothing came"
        time.sleep(0.01)


def test_a_terminal_shows_progress_and_a_pipe_does_not(town: Town) -> None:
    alice, bob = town.user("alice"), town.user("bob")
    (town.home / "data.bin").write_bytes(CONTENT)
    with receiving(town, bob, "--overwrite"):
        terminal = Terminal("file", "send", "--direct", "data.bin", bob, home=town.home, env=town.env(alice))
        assert terminal.finish() == 0
        assert "data.bin [" in terminal.shown and "3.0 MB" in terminal.shown and "%" in terminal.shown
        assert f"sent data.bin (3.0 MB) to {bob}" in terminal.shown
        plain = town.run("file", "send", "--direct", "data.bin", bob, user=alice)
        assert (plain.stdout, plain.stderr) == (f"sent data.bin (3.0 MB) to {bob}\n", "")


def test_where_output_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from relay.cli.files import _target

    monkeypatch.chdir(tmp_path)
    Path("there").mkdir()
    assert _target("there") == (Path("there"), None) and _target("new/") == (Path("new"), None)
    assert _target("new") == (Path(), "new") and _target("there/new") == (Path("there"), "new")


def test_a_file_through_the_relay(town: Town) -> None:
    alice, bob = town.user("alice"), town.user("bob")
    (town.home / "data.bin").write_bytes(CONTENT)
    sent = town.run("file", "send", "data.bin", bob, user=alice)
    id = sent.stdout.rpartition(" ")[2].strip()
    assert sent.stdout == f"sent data.bin (3.0 MB) to {bob}: relay file get {id}\n" and sent.stderr == ""
    (line,) = town.run("listen", "--text", "--count", "1", "--timeout", "20", user=bob).stdout.splitlines()
    assert line.endswith(f"{alice} sent data.bin (3.0 MB): relay file get {id}")
    (row,) = [json.loads(line) for line in town.run("file", "list", alice, "--json", user=bob).stdout.splitlines()]
    assert (row["id"], row["name"], row["size"], row["from"]) == (id, "data.bin", len(CONTENT), alice)
    assert row["hash"] == hashlib.sha256(CONTENT).hexdigest() and row["time"] < row["expires"]
    (listed,) = town.run("file", "list", user=bob).stdout.splitlines()
    assert listed.startswith(f"{id}     3.0 MB  ") and listed.endswith("  data.bin")
    home = town.home / "bob"
    home.mkdir()
    got = town.run("file", "get", id, "-o", "bob/", user=bob)
    assert got.stdout == f"received bob/data.bin (3.0 MB) from {alice}\n"
    assert (home / "data.bin").read_bytes() == CONTENT
    again = town.run("file", "get", id, "-o", "bob", user=bob)
    assert again.returncode == 1 and "bob/data.bin exists already" in again.stderr
    named = town.run("file", "get", id, "-o", "bob/mine", "--json", user=bob)
    assert json.loads(named.stdout)["path"] == "bob/mine" and (home / "mine").read_bytes() == CONTENT
    assert town.run("file", "usage", user=alice).stdout.startswith("3.0 MB of ")
    assert town.run("file", "remove", id, user=bob).returncode == 1
    assert town.run("file", "remove", id, user=alice).returncode == 0
    gone = town.run("file", "get", id, user=bob)
    assert gone.returncode == 1 and id in gone.stderr and town.run("file", "list", user=bob).stdout == ""


def test_through_standard_input_and_output(town: Town) -> None:
    alice, room = town.user("alice"), "#files"
    town.run("room", "create", room, user=alice)
    sent = town.run("file", "send", "-", room, "--name", "log.txt", "--json", user=alice, stdin=b"line\n" * 1000)
    row = json.loads(sent.stdout)
    assert (row["size"], row["type"], row["conversation"], row["offset"]) == (5000, "text/plain", room, 1)
    got = town.run("file", "get", row["id"], "-o", "-", user=alice)
    assert got.stdout == "line\n" * 1000 and (got.returncode, got.stderr) == (0, "")


def test_tab_offers_ids_of_files(town: Town) -> None:
    alice = town.user("alice")
    town.run("login", town.url(alice))
    (town.home / "note.txt").write_text("hello")
    id = json.loads(town.run("file", "send", "note.txt", alice, "--json", user=alice).stdout)["id"]
    line = f"relay file get {id[:3]}"
    done = run(home=town.home, env={"_RELAY_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": "3"})
    assert f"plain,{id}" in done.stdout.splitlines()


def test_ctrl_c_while_fetching_and_the_same_command_again(town: Town) -> None:
    alice = town.user("alice")
    with (town.home / "large.bin").open("wb") as file:
        file.truncate(100_000_000)
    id = json.loads(town.run("file", "send", "large.bin", alice, "--json", user=alice).stdout)["id"]
    inbox = town.home / "receiver/inbox"
    inbox.mkdir(parents=True)
    with running("file", "get", id, "-o", str(inbox), home=town.home, env=town.env(alice)) as getting:
        await_growth(town)
        if getting.stop(signal.SIGINT) == 130:  # it may have been faster than us
            getting.await_line("the same command goes on from here")
            assert [*inbox.iterdir()] != [inbox / "large.bin"]
            assert town.run("file", "get", id, "-o", str(inbox), user=alice).returncode == 0
    assert [*inbox.iterdir()] == [inbox / "large.bin"]
    assert (inbox / "large.bin").stat().st_size == 100_000_000


def test_of_several_files_the_rest_is_named(town: Town) -> None:
    alice, bob = town.user("alice"), town.user("bob")
    (town.home / "note.txt").write_text("hello")
    with (town.home / "a large.bin").open("wb") as file:
        file.truncate(2_000_000_000)
    words = "file", "send", "--direct", "note.txt", "a large.bin", bob
    with receiving(town, bob), running(*words, home=town.home, env=town.env(alice)) as sender:
        await_growth(town)
        assert sender.stop(signal.SIGINT) == 130
        sender.await_line("the same command with 'a large.bin' alone goes on from here")


def test_a_full_disk_at_the_receiver_and_the_same_command_again(town: Town) -> None:
    alice, bob = town.user("alice"), town.user("bob")
    (town.home / "data.bin").write_bytes(CONTENT)
    words = "file", "send", "--direct", "data.bin", bob
    with receiving(town, bob) as receiver:
        pid = receiver.process.pid
        before = resource.prlimit(pid, resource.RLIMIT_FSIZE, (1_500_000, resource.RLIM_INFINITY))
        full = town.run(*words, user=alice)
        assert full.returncode == 1 and "the receiver has no room for it" in full.stderr
        assert "there is no room for it" in receiver.await_line("was not received")
        assert [len(content) for content in inbox(town).values()] == [2**20]
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
        assert town.run(*words, user=alice).returncode == 0
    assert inbox(town) == {"data.bin": CONTENT}
