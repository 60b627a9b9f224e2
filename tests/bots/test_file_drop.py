"""The file drop, as a process, against a real relay."""

import hashlib
import os
from pathlib import Path

import pytest
from relay_client import Client

from tests.process import running
from tests.relay_client.peer import DEADLINE_S
from tests.relay_client.town import Town

FILE = Path(__file__).parents[2] / "clients/bots/file_drop.py"
CONTENT = os.urandom(2_500_000)


def test_it_keeps_files_that_come_directly_and_answers_with_their_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "data.bin").write_bytes(CONTENT)
    town = Town(tmp_path)
    town.add("alice")
    town.add("drop", bot=True)
    with town.open():
        env = {"RELAY_URL": town.url("drop"), "DROP_DIRECTORY": str(tmp_path / "kept")}
        with running("bot", str(FILE), home=tmp_path, env=env) as bot, Client(town.url("alice"), receive=True) as me:
            bot.await_line("keeps files in")
            messages = me.messages(timeout=DEADLINE_S)
            for name in ("data.bin", "data (1).bin"):
                assert me.files.send(tmp_path / "data.bin", "drop", direct=True).size == len(CONTENT)
                receipt = next(messages).text
                assert receipt == f"stored {name}, 2500000 bytes, SHA-256 {hashlib.sha256(CONTENT).hexdigest()}"
                assert (tmp_path / "kept" / name).read_bytes() == CONTENT
            me.send("drop", "hello?")
            assert "relay file send" in next(messages).text
            assert bot.stop() == 0
    assert len(list((tmp_path / "kept").iterdir())) == 2


def test_it_fetches_files_that_the_relay_keeps_also_later_and_from_a_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "data.bin").write_bytes(CONTENT)
    town = Town(tmp_path)
    town.add("alice")
    town.add("drop", bot=True)
    env = {"DROP_DIRECTORY": str(tmp_path / "kept"), "DROP_ROOM": "ops"}
    with town.open(), Client(town.url("alice"), receive=True) as me:
        env["RELAY_URL"] = town.url("drop")
        messages = me.messages(timeout=DEADLINE_S)
        me.rooms.create("ops")
        with running("bot", str(FILE), home=tmp_path, env=env) as bot:
            bot.await_line("keeps files in")
            me.files.send(tmp_path / "data.bin", "#ops")
            answer = next(messages)
            assert answer.to == "#ops" and hashlib.sha256(CONTENT).hexdigest() in answer.text
            assert bot.stop() == 0
        me.files.send(tmp_path / "data.bin", "drop", name="later.bin")
        with running("bot", str(FILE), home=tmp_path, env=env) as bot:
            assert next(messages).text.startswith("stored later.bin, 2500000 bytes")
            assert bot.stop() == 0
    assert {path.name for path in (tmp_path / "kept").iterdir()} == {"data.bin", "later.bin"}
    assert (tmp_path / "kept/later.bin").read_bytes() == CONTENT
