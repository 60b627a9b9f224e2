"""Files in an event loop. What both shells share: tests/relay_client/test_files."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from relay_client import aio
from relay_client.files.fetching import ReceivedFile

from relay.protocol.limits import FILE_CHUNK_BYTES
from tests.relay_client.peer import DEADLINE_S
from tests.relay_client.town import Town

CONTENT = bytes(range(256)) * 4096 * 3


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    town = Town(tmp_path_factory.mktemp("town"))
    town.add("alice", "bob")
    with town.open():
        yield town


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


class Gradual:
    """A file object whose every read waits for a task of the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._left = [b"some ", b"thing", b""]

    def read(self, size: int) -> bytes:
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self._loop).result(DEADLINE_S)
        return self._left.pop(0)


def test_a_source_that_waits_does_not_hold_up_the_loop(town: Town, tmp_path: Path) -> None:
    async def main() -> None:
        received: list[ReceivedFile] = []

        async def keep(file: ReceivedFile) -> None:
            await asyncio.sleep(0)
            received.append(file)

        async with aio.Client(town.url("alice")) as alice, aio.Client(town.url("bob")) as bob:
            await bob.files.serve(tmp_path, on_file=keep)
            source = Gradual(asyncio.get_running_loop())
            await asyncio.wait_for(alice.files.send(source, "bob", name="x", direct=True), DEADLINE_S)
        assert (tmp_path / "x").read_bytes() == b"some thing" and len(received) == 1

    asyncio.run(main())


def test_a_task_that_is_cancelled_leaves_something_to_go_on_with(town: Town, tmp_path: Path) -> None:
    source, inbox = tmp_path / "x", tmp_path / "inbox"
    source.write_bytes(CONTENT)
    inbox.mkdir()

    async def main() -> None:
        async with aio.Client(town.url("alice")) as alice, aio.Client(town.url("bob")) as bob:
            await bob.files.serve(inbox)

            def cancel(done: int, size: int | None) -> None:
                if done == 2 * FILE_CHUNK_BYTES:
                    task.cancel()

            task = asyncio.ensure_future(alice.files.send(source, "bob", direct=True, progress=cancel))
            with pytest.raises(asyncio.CancelledError):
                await task
            begins: list[int] = []
            await alice.files.send(source, "bob", direct=True, progress=lambda done, size: begins.append(done))
            assert begins[0] >= FILE_CHUNK_BYTES
        assert (inbox / "x").read_bytes() == CONTENT

    asyncio.run(main())
