"""Programs on the SDK that live through the same: what they were told is stored arrives once and in order.

They are few and slow beside the other clients: their point is the SDK's promise, that a program needs no bookkeeping
of its own. Each runs in a thread, as users of the SDK do.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from urllib.parse import quote

from relay_client import Client, Message, Posted, RelayError

from loadtest.crowd.login import PASSWORD
from loadtest.torture.findings import Findings

WRITERS = ("writer1", "writer2")
READERS = ("reader1", "reader2", "reader3")
USERS = (*WRITERS, *READERS)

_IN_FLIGHT = 20
_PAUSE_S = 0.002
# Longer than any run: while the relay is killed again and again the SDK pauses for up to half a minute.
_TIMEOUT_S = 3600.0
_CLOSE_S = 5.0


class Programs:
    """`start`, then `finish`, then poll `done`, then `judge`."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._ending = threading.Event()
        self._readers: list[Client] = []
        self._writers: list[threading.Thread] = []
        # (conversation, offset) -> text, as the writers were told.
        self._stored: dict[tuple[str, int], str] = {}
        # For each reader what it was given, in that order.
        self._read: dict[str, list[tuple[str, int, str]]] = {reader: [] for reader in READERS}
        self._problems: list[str] = []

    @property
    def acknowledged(self) -> int:
        """Messages that were acknowledged."""
        return len(self._stored)

    def start(self) -> None:
        """Connect the readers and let the writers write. Blocks for a moment; the relay must listen."""
        for reader in READERS:
            client = Client(self._url(reader), "desk", receive=True, patience_s=None, timeout=_TIMEOUT_S)
            client.on_message(self._reading(reader))
            self._readers.append(client)
        for writer in WRITERS:
            thread = threading.Thread(target=self._write, args=(writer,), daemon=True)
            thread.start()
            self._writers.append(thread)

    def finish(self) -> None:
        """Write nothing new."""
        self._ending.set()

    @property
    def done(self) -> bool:
        """Whether everything is written and read."""
        if any(thread.is_alive() for thread in self._writers):
            return False
        return sum(len(read) for read in self._read.values()) >= len(self._stored)

    def close(self) -> None:
        """End the readers."""
        for reader in self._readers:
            try:
                reader.close(_CLOSE_S)
            except RelayError as error:
                self._problems.append(f"{reader.session}: {error!r}")

    def judge(self, findings: Findings) -> None:
        """Compare what was stored with what was read."""
        for problem in self._problems:
            findings.add("failed", "", f"SDK: {problem}")
        wanted: dict[str, dict[tuple[str, int], str]] = {reader: {} for reader in READERS}
        for place, text in self._stored.items():
            wanted[text.split()[0]][place] = text
        for reader, read in self._read.items():
            last: dict[str, int] = {}
            for conversation, offset, text in read:
                before = last.get(conversation, 0)
                if offset <= before:
                    kind = (
                        "duplicated"
                        if (conversation, offset, text) in read[: read.index((conversation, offset, text))]
                        else "reordered"
                    )
                    findings.add(kind, conversation, f"SDK {reader}: offset {offset} after {before}")
                last[conversation] = max(offset, before)
                expected = wanted[reader].pop((conversation, offset), None)
                if expected not in (None, text):
                    findings.add("unexpected", conversation, f"SDK {reader}: offset {offset} is {text!r}")
            for (conversation, offset), text in wanted[reader].items():
                findings.add("lost", conversation, f"SDK {reader}: offset {offset}, {text!r}")

    def _reading(self, reader: str) -> Callable[[Message], None]:
        read = self._read[reader]

        def note(message: Message) -> None:
            read.append((message.conversation, message.offset, message.text))

        return note

    def _write(self, writer: str) -> None:
        try:
            with Client(self._url(writer), "desk", patience_s=None, timeout=_TIMEOUT_S) as client:
                self._write_on(client)
        except Exception as error:
            self._problems.append(f"{writer}: {error!r}")

    def _write_on(self, client: Client) -> None:
        posted: deque[tuple[str, Posted]] = deque()
        number = 0
        while not self._ending.is_set():
            number += 1
            reader = READERS[number % len(READERS)]
            text = f"{reader} {client.user} {number}"
            posted.append((text, client.post(reader, text)))
            if len(posted) >= _IN_FLIGHT:
                self._settle(*posted.popleft())
            time.sleep(_PAUSE_S)
        while posted:
            self._settle(*posted.popleft())

    def _settle(self, text: str, posted: Posted) -> None:
        stored = posted.wait()
        if self._stored.setdefault((stored.conversation, stored.offset), text) != text:
            self._problems.append(f"two messages were stored at {stored.conversation} {stored.offset}")

    def _url(self, user: str) -> str:
        return f"relay://{user}:{quote(PASSWORD)}@127.0.0.1:{self._port}"
