"""The caller's end of a run: open it, read what comes, send input and signals.

`Execution` is for programs, and `relay exec` is built on it. One thread may iterate while another one writes.
"""

import threading
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

from relay_client import Client, RelayError, StreamReset

from relay.protocol.codes import ErrorCode
from relay_agent.records import (
    DATA_MAX_BYTES,
    LIST_METHOD,
    SERVICE,
    Eof,
    Exit,
    Grant,
    Record,
    RecordError,
    RecordReader,
    Request,
    Resize,
    Signal,
    Stderr,
    Stdin,
    Stdout,
    Terminal,
    encode,
)


class Finished(NamedTuple):
    """What `communicate` returns."""

    exit: Exit
    stdout: bytes
    stderr: bytes


class Execution:
    """A command that runs at an agent. The constructor asks for it and raises StreamReset if it is refused: `code` as
    in AgentCode or ErrorCode, `sentence` with the rule.

    Iterating gives Stdout and Stderr records as they come, and Exit as the last one; raises StreamReset,
    ConnectionLost or StreamClosed if the run ends otherwise. `close`, and leaving a `with` block, gives the run up.
    """

    def __init__(  # noqa: PLR0913 - all but three have defaults and are named
        self,
        client: Client,
        to: str,
        command: str,
        arguments: Sequence[str] = (),
        *,
        terminal: Terminal | None = None,
        timeout: float | None = None,
    ) -> None:
        request = Request(command, tuple(arguments), terminal)
        self._stream = client.streams.open(to, SERVICE, request.to_value(), timeout=timeout)
        self._changed = threading.Condition()
        self._granted = 0
        self._over = False
        self._exited = False

    @property
    def peer(self) -> str:
        """The session that runs it: `build/agent`."""
        return self._stream.peer

    @property
    def granted(self) -> int:
        """How many bytes of standard input may be sent now."""
        return self._granted

    def wait_granted(self, timeout: float | None = None) -> int:
        """Wait until standard input is wanted; how many bytes. 0: not in time, or never more."""
        with self._changed:
            self._changed.wait_for(lambda: self._granted > 0 or self._over, timeout)
            return 0 if self._over else self._granted

    def write_stdin(self, data: bytes) -> None:
        """Send standard input; waits while the command does not read, and while nobody iterates, because grants are
        heard there. What comes after the end of the run is dropped."""
        view = memoryview(data)
        while view and (granted := self.wait_granted()):
            part = view[: min(granted, DATA_MAX_BYTES)]
            with self._changed:
                self._granted -= len(part)
            self._say(Stdin(bytes(part)))
            view = view[len(part) :]

    def end_stdin(self) -> None:
        """No more standard input."""
        self._say(Eof())

    def signal(self, name: str) -> None:
        """Send a signal to the command's process group: "INT", "TERM", ...; "KILL" ends all its processes."""
        self._say(Signal(name))

    def resize(self, rows: int, columns: int) -> None:
        """The terminal's size has changed."""
        self._say(Resize(rows, columns))

    def communicate(self, stdin: bytes = b"") -> Finished:
        """Send this as standard input, and collect everything to the end. The output is held in memory."""
        thread = threading.Thread(target=self._send_all, args=(stdin,), daemon=True)
        thread.start()
        output: dict[type[Record], list[bytes]] = {Stdout: [], Stderr: []}
        exit = None
        for record in self:
            if isinstance(record, Exit):
                exit = record
            else:
                output[type(record)].append(record.data)
        assert exit is not None, "the iteration raises otherwise"
        thread.join()
        return Finished(exit, b"".join(output[Stdout]), b"".join(output[Stderr]))

    def __iter__(self) -> Iterator[Stdout | Stderr | Exit]:
        try:
            yield from self._records()
        except RecordError as error:
            self._stream.reset(ErrorCode.MALFORMED, str(error))
            raise StreamReset(ErrorCode.MALFORMED, str(error), SERVICE, self.peer) from None
        finally:
            self._end()

    def _records(self) -> Iterator[Stdout | Stderr | Exit]:
        reader = RecordReader()
        while data := self._stream.read1():
            for record in reader.feed(data):
                if isinstance(record, Grant):
                    self._grant(record.size)
                elif isinstance(record, Stdout | Stderr):
                    yield record
                elif isinstance(record, Exit):
                    self._exited = True
                    self._end()
                    self._stream.close()
                    yield record
                    return
                else:
                    raise RecordError(f"a {type(record).__name__.upper()} record comes from the caller only")
        raise StreamReset(ErrorCode.CANCELLED, "the agent left without saying how it ended", SERVICE, self.peer)

    def close(self, sentence: str = "the caller is gone") -> None:
        """Give the run up, unless it is over: the agent ends the command."""
        self._end()
        if not self._exited:
            self._stream.reset(ErrorCode.CANCELLED, sentence)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _grant(self, size: int) -> None:
        with self._changed:
            self._granted += size
            self._changed.notify_all()

    def _end(self) -> None:
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def _say(self, record: Record) -> None:
        """Nothing happens once the run is over: how it ended, the iteration tells."""
        try:
            if not self._over:
                self._stream.write(encode(record))
        except RelayError:
            self._end()

    def _send_all(self, data: bytes) -> None:
        self.write_stdin(data)
        self.end_stdin()


def offered_commands(client: Client, to: str, *, timeout: float | None = None) -> list[dict[str, Any]]:
    """What the agent `to` offers us, see docs/agent.md. Raises CallFailed and other errors as Client.call."""
    answer = client.call(to, LIST_METHOD, timeout=timeout)
    if not isinstance(answer, list):
        return []
    return [row for row in answer if isinstance(row, dict) and isinstance(row.get("name"), str)]
