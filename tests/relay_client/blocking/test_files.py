"""Files in threads. What both shells share: tests/relay_client/test_files."""

import threading
from pathlib import Path

import pytest
from relay_client import Client

from relay.protocol.limits import FILE_CHUNK_BYTES
from tests.relay_client.peer import DEADLINE_S
from tests.relay_client.town import Town


def test_several_files_at_once_over_one_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    town = Town(tmp_path)
    town.add("alice", "bob")
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    contents = {f"{number}.bin": bytes([number]) * (2 * FILE_CHUNK_BYTES + number) for number in range(1, 5)}
    with town.open(), Client(town.url("alice")) as alice, Client(town.url("bob")) as bob:
        bob.files.serve(inbox)

        def send(name: str) -> None:
            (tmp_path / name).write_bytes(contents[name])
            alice.files.send(tmp_path / name, "bob", direct=True)

        threads = [threading.Thread(target=send, args=(name,)) for name in contents]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE_S)
    assert {path.name: path.read_bytes() for path in inbox.iterdir()} == contents
