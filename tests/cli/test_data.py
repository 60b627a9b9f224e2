"""`relay backup`, `restore` and `verify` as processes: files, exit codes, what is said."""

import json
from pathlib import Path

import pytest

from relay.store.sqlite import SqliteStore
from tests.cli.terminal import Terminal
from tests.process import run
from tests.store.samples import add_users, message, send


@pytest.fixture
def home(tmp_path: Path) -> Path:
    store = SqliteStore(tmp_path / "data")
    add_users(store, "alice", "bob")
    send(store, [message(number) for number in range(1, 51)])
    store.close()
    return tmp_path


def test_there_and_back(home: Path) -> None:
    done = run("backup", "copy.db", home=home)
    assert done.returncode == 0, done.stderr
    assert (done.stdout, done.stderr.startswith("backed up data to copy.db, ")) == ("", True)
    done = run("restore", "copy.db", "--data", "new", home=home)
    assert (done.returncode, done.stderr) == (0, "restored copy.db to new\n")
    done = run("verify", "--data", "new", home=home)
    assert done.returncode == 0
    assert done.stdout.startswith("new/relay.db: whole: 2 users, 1 devices, 0 rooms, 1 conversations, 50 messages")


def test_nothing_is_replaced_unless_told(home: Path) -> None:
    run("backup", "copy.db", home=home)
    done = run("backup", "copy.db", home=home)
    assert (done.returncode, done.stderr.count("--force")) == (1, 1)
    done = run("restore", "copy.db", home=home)
    assert (done.returncode, done.stderr.count("--force")) == (1, 1)
    assert run("backup", "copy.db", "--force", home=home).returncode == 0
    done = run("restore", "copy.db", "--force", home=home)
    assert done.returncode == 0 and "what was there before is in data/replaced-" in done.stderr


def test_damage_is_named(home: Path) -> None:
    path = home / "data" / "relay.db"
    data = bytearray(path.read_bytes())
    data[data.index(b"alice/pc to bob: 30 ")] ^= 4
    path.write_bytes(data)
    done = run("verify", home=home)
    assert done.returncode == 1
    assert "log: message 30 of alice@bob is missing or altered" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("data/relay.db: DAMAGED; restore a backup")
    done = run("verify", "data/relay.db", "--json", home=home)
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["whole"], answer["messages"]) == (1, False, 49)
    assert [finding["part"] for finding in answer["findings"]] == ["log"]


def test_a_terminal_shows_progress(home: Path) -> None:
    terminal = Terminal("backup", "copy.db", home=home)
    terminal.wait_for("backing up")
    terminal.wait_for("100%")
    terminal.wait_for("backed up data to copy.db")
    assert terminal.process.wait() == 0


def test_there_must_be_something(tmp_path: Path) -> None:
    for words in (("backup", "copy.db"), ("verify",), ("restore", "copy.db")):
        done = run(*words, home=tmp_path)
        assert (done.returncode, "there is no database" in done.stderr) == (1, True), done.stderr


def test_export_and_import_through_pipes(home: Path) -> None:
    first = run("export", "-", "--keys", home=home)
    assert first.returncode == 0, first.stderr
    assert [json.loads(line)["type"] for line in first.stdout.splitlines()][:2] == ["relay", "user"]
    done = run("import", "-", "--data", "new", home=home, stdin=first.stdout.encode())
    assert (done.returncode, done.stderr) == (0, "imported 58 records to new\n")
    assert run("export", "-", "--keys", "--data", "new", home=home).stdout == first.stdout


def test_export_and_import_through_a_file(home: Path) -> None:
    assert run("export", "all.jsonl", home=home).returncode == 0
    assert (home / "all.jsonl").stat().st_mode & 0o777 == 0o600
    assert "stored_key" not in (home / "all.jsonl").read_text()
    done = run("export", "all.jsonl", home=home)
    assert (done.returncode, done.stderr.count("--force")) == (1, 1)
    assert run("import", "all.jsonl", "--data", "new", home=home).returncode == 0
    done = run("import", "all.jsonl", home=home)
    assert done.returncode == 1 and "choose an empty directory" in done.stderr


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (b"{broken}\n", "line 3: not JSON in UTF-8: "),
        (b"\xff\n", "line 3: not JSON in UTF-8: "),
        (b"[" * 100_000 + b"\n", "line 3: not JSON in UTF-8: "),
        (b'{"type": "user", "name": "a"}\n', "line 3: created_ms must be a number"),
        (b'{"type": "user"', "line 3: the line is cut off, or too long"),
        (b"", "line 2: the export is cut off"),
    ],
)
def test_a_bad_line_is_named(home: Path, line: bytes, sentence: str) -> None:
    good = run("export", "-", home=home).stdout.encode().splitlines(keepends=True)[:2]
    (home / "bad.jsonl").write_bytes(b"".join(good) + line)
    done = run("import", "bad.jsonl", "--data", "new", home=home)
    assert done.returncode == 1 and done.stderr.startswith(f"relay: {sentence}"), done.stderr
    assert done.stderr.endswith("; nothing was imported\n") and done.stderr.count("\n") == 1
    assert not (home / "new" / "relay.db").exists()
