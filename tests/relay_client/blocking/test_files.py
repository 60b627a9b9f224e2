"""Files in threads. What both shells share: tests/relay_client/test_files."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from relay_client import Client

from relay.protocol.limits import FILE_CHUNK_BYTES
from tests.process import environment
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


PATCHED = """
import gevent.monkey

gevent.monkey.patch_all()
import sys
from pathlib import Path

from relay_client import Client

alice, bob, home = sys.argv[1], sys.argv[2], Path(sys.argv[3])
with Client(alice) as me, Client(bob) as other:
    other.files.serve(home / "inbox", numbered=True)
    me.files.send(home / "data.bin", "bob", direct=True)
    sent = me.files.send(home / "data.bin", "bob")
    print(other.files.get(sent.id, home / "inbox", numbered=True).path.name)
"""


def test_in_a_process_patched_by_gevent(tmp_path: Path) -> None:
    town = Town(tmp_path)
    town.add("alice", "bob")
    (tmp_path / "inbox").mkdir()
    content = os.urandom(3 * FILE_CHUNK_BYTES + 5)
    (tmp_path / "data.bin").write_bytes(content)
    with town.open():
        words = (sys.executable, "-c", PATCHED, town.url("alice"), town.url("bob"), str(tmp_path))
        done = subprocess.run(
            words, env=environment(tmp_path), capture_output=True, text=True, timeout=DEADLINE_S, check=False
        )
    assert (done.returncode, done.stdout) == (0, "data (1).bin\n"), done.stderr
    assert [path.read_bytes() for path in (tmp_path / "inbox").iterdir()] == [content, content]
