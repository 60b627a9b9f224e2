"""One run at the agent: a command, its keeper, and the stream that its output goes to.

Two threads. The handler's own carries output: it reads a pipe only when it can wait for the caller to take what was
read, so a caller who does not read stops the command and fills no memory. The other one listens to the caller, so that
a signal gets through however much output waits. What comes for standard input is bounded by what was granted.
"""

import errno
import fcntl
import logging
import os
import pty
import select
import signal
import struct
import termios
import threading
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from relay_client import RelayError, Stream, TimedOut

from relay.protocol.codes import ErrorCode
from relay_agent.commands import Command, RefusedRun
from relay_agent.processes import Ended, Kept, Order, StartFailed
from relay_agent.records import (
    DATA_MAX_BYTES,
    SIGNALS,
    STDIN_WINDOW_BYTES,
    AgentCode,
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
    is_size,
)

log = logging.getLogger("relay_agent")

# A caller that takes nothing for this long after the time limit of its command is given up.
PATIENCE_S = 60.0
# How long a caller may take to hang up after it got the EXIT record.
PARTING_S = 10.0

_GRANT_STEP_BYTES = STDIN_WINDOW_BYTES // 4


@dataclass
class Totals:
    """Bytes each way."""

    stdin: int = 0
    stdout: int = 0
    stderr: int = 0


class Channels(NamedTuple):
    """The agent's ends of the command's standard streams, and the command's. With a terminal all of ours are one, and
    `stderr` is None. Ours do not block."""

    stdin: int
    stdout: int
    stderr: int | None
    theirs: tuple[int, int, int]

    @property
    def ours(self) -> set[int]:
        """Our descriptors, each once."""
        return {fd for fd in (self.stdin, self.stdout, self.stderr) if fd is not None}


def open_channels(terminal: Terminal | None) -> Channels:
    """Make them. Raises OSError."""
    if terminal is not None:
        master, slave = pty.openpty()
        set_size(master, terminal.rows, terminal.columns)
        os.set_blocking(master, False)
        return Channels(master, master, None, (slave, slave, slave))
    opened: list[int] = []
    try:
        for _ in range(3):
            opened += os.pipe()
    except OSError:
        for fd in opened:
            os.close(fd)
        raise
    in_read, in_write, out_read, out_write, err_read, err_write = opened
    for fd in (in_write, out_read, err_read):
        os.set_blocking(fd, False)
    return Channels(in_write, out_read, err_read, (in_read, out_write, err_write))


def set_size(terminal: int, rows: int, columns: int) -> None:
    """Tell a terminal its size; its programs get SIGWINCH."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


class Run:
    """From the start of the command to the record of its end. `reason`: why the agent ended it, if it did."""

    def __init__(self, stream: Stream, command: Command, request: Request, kept: Kept) -> None:
        self.totals = Totals()
        self.reason: AgentCode | None = None
        self._stream = stream
        self._command = command
        self._request = request
        self._kept = kept
        self._channels: Channels | None = None
        self._lock = threading.Lock()
        self._input: deque[bytes] = deque()
        self._input_ended = False
        self._granted = 0
        self._unanswered = 0  # bytes that were written and not granted anew
        self._waker, self._wakened = os.pipe()[::-1]
        os.set_blocking(self._wakened, False)
        os.set_blocking(self._waker, False)
        self._poll = select.poll()
        self._readable: dict[int, type[Stdout] | type[Stderr]] = {}
        self._stdin: int | None = None
        self._ended: Ended | None = None
        self._abandoned = False

    def start(self, order: Order) -> None:
        """Start the command. Raises RefusedRun."""
        try:
            self._channels = channels = open_channels(self._request.terminal)
            self._stdin = channels.stdin
            try:
                self._kept.start(order, channels.theirs)
            finally:
                for fd in set(channels.theirs):
                    os.close(fd)
        except OSError as error:
            raise RefusedRun(AgentCode.CANNOT_START, f"the agent cannot start anything: {error.strerror}") from None
        except StartFailed as error:
            raise self._not_started(error) from None
        self._readable = {channels.stdout: Stdout}
        if channels.stderr is not None:
            self._readable[channels.stderr] = Stderr
        for fd in (self._kept.fileno(), self._wakened, *self._readable):
            self._poll.register(fd, select.POLLIN)

    def _not_started(self, error: StartFailed) -> RefusedRun:
        name = self._command.name
        if error.step == "program":
            program = "/bin/sh" if self._command.shell else self._command.program[0]
            missing = error.sentence == os.strerror(errno.ENOENT)
            code = AgentCode.NO_PROGRAM if missing else AgentCode.CANNOT_START
            return RefusedRun(code, f"command {name!r} cannot start: {program!r}: {error.sentence}")
        if error.step == "directory":
            where = self._command.directory or "the home directory"
            return RefusedRun(AgentCode.CANNOT_START, f"command {name!r} cannot start in {where}: {error.sentence}")
        return RefusedRun(AgentCode.CANNOT_START, f"command {name!r} cannot start ({error.step}): {error.sentence}")

    def serve(self) -> Ended:
        """Carry everything between the caller and the command until both are done. Never raises for either of them."""
        limit_s = self._command.time_limit_s
        self._stream.timeout = limit_s + self._command.grace_s + PATIENCE_S if limit_s else None
        listener = threading.Thread(target=self._listen, name="relay agent listener", daemon=True)
        self._stream.accept({"version": 1})
        listener.start()
        try:
            self._grant(STDIN_WINDOW_BYTES)
            while self._ended is None or self._readable:
                self._turn()
        except RelayError as error:
            log.info("%r: the caller is gone: %s", self._stream, error)
            self.abandon()
        ended = self._await_end()
        self._say_goodbye(ended)
        listener.join(PARTING_S)
        return ended

    def stop(self) -> None:
        """The agent ends: so does the command, and the caller is told."""
        self._end(AgentCode.AGENT_STOPPED, "TERM")

    def abandon(self) -> None:
        """The caller is gone: as if its terminal had been closed."""
        self._abandoned = True
        self._kept.end("HUP")
        self._wake()

    def close(self) -> None:
        """Close all descriptors."""
        if self._channels is not None:
            closed = self._stdin is None and self._request.terminal is None
            for fd in self._channels.ours - ({self._channels.stdin} if closed else set()):
                os.close(fd)
        with self._lock:
            waker, self._waker = self._waker, -1
        os.close(waker)
        os.close(self._wakened)

    # Output, in the handler's thread.

    def _turn(self) -> None:
        for fd, _ in self._poll.poll():
            if fd == self._kept.fileno():
                self._ended = self._kept.take_end()
                self._poll.unregister(fd)
                if self._ended.left or self._ended.reason == "lost":  # its pipes may be held open for ever
                    self._drop_output()
            elif fd == self._wakened:
                os.read(fd, 4096)
            elif fd in self._readable:
                self._carry(fd)
        if self._abandoned:
            self._drop_output()
        self._feed()

    def _carry(self, fd: int) -> None:
        """Pass on what the command wrote."""
        try:
            data = os.read(fd, DATA_MAX_BYTES)
        except BlockingIOError:
            return
        except OSError:  # EIO: all processes have left the terminal
            data = b""
        if not data:
            self._poll.unregister(fd)
            del self._readable[fd]
            return
        kind = self._readable[fd]
        room = self._room()
        if room is not None and len(data) > room:
            data = data[:room]
            self._end(AgentCode.OUTPUT_LIMIT, "TERM")
            self._drop_output()
        if data:
            self._count(kind, len(data))
            self._send(kind(data))

    def _drop_output(self) -> None:
        """Read no more of it: the command waits, until it is ended."""
        for fd in self._readable:
            self._forget(fd)
        self._readable.clear()

    def _room(self) -> int | None:
        most = self._command.output_max_bytes
        return most - self.totals.stdout - self.totals.stderr if most else None

    def _count(self, kind: type[Stdout] | type[Stderr], size: int) -> None:
        if kind is Stdout:
            self.totals.stdout += size
        else:
            self.totals.stderr += size

    def _send(self, record: Record) -> None:
        self._stream.write(encode(record))

    # Standard input: the listener queues it, the handler's thread writes it.

    def _feed(self) -> None:
        """Write what waits for the command, as far as it takes it."""
        if self._stdin is None:
            return
        wants = False
        try:
            while (part := self._next_input()) is not None:
                written = os.write(self._stdin, part)
                self._written(part, written)
        except BlockingIOError:
            wants = True
        except OSError:  # the command reads no more
            self._close_stdin()
            return
        if not wants and self._input_ended and not self._input and self._request.terminal is None:
            self._close_stdin()
            return
        self._watch_stdin(wants)
        if self._unanswered >= _GRANT_STEP_BYTES:
            size, self._unanswered = self._unanswered, 0
            self._grant(size)

    def _next_input(self) -> bytes | None:
        with self._lock:
            return self._input[0] if self._input else None

    def _written(self, part: bytes, size: int) -> None:
        with self._lock:
            self._input.popleft()
            if size < len(part):
                self._input.appendleft(part[size:])
            self.totals.stdin += size
            self._unanswered += size

    def _watch_stdin(self, wants: bool) -> None:
        assert self._stdin is not None
        reading = select.POLLIN if self._stdin in self._readable else 0  # a terminal is one descriptor for both
        if reading or wants:
            self._poll.register(self._stdin, reading | (select.POLLOUT if wants else 0))
        else:
            self._forget(self._stdin)

    def _close_stdin(self) -> None:
        """Drop what waits. A terminal stays open for its output."""
        assert self._stdin is not None
        self._watch_stdin(wants=False)
        if self._request.terminal is None:
            os.close(self._stdin)
        with self._lock:
            self._stdin = None
            self._input.clear()

    def _forget(self, fd: int) -> None:
        try:
            self._poll.unregister(fd)
        except KeyError:
            return

    def _grant(self, size: int) -> None:
        with self._lock:
            self._granted += size
        self._send(Grant(size))

    # What the caller says, in the listener's thread.

    def _listen(self) -> None:
        records = RecordReader()
        try:
            while (data := self._read()) != b"":
                for record in records.feed(data):
                    self._handle(record)
            with self._lock:
                self._input_ended = True  # whoever sends nothing more sends no input either
            self._wake()
        except RecordError as error:
            self._stream.reset(AgentCode.BAD_REQUEST, str(error))
            self.abandon()
        except RelayError:
            if self._ended is None:
                self.abandon()

    def _read(self) -> bytes:
        while True:
            try:
                return self._stream.read1()
            except TimedOut:  # that the caller says nothing is no fault of it
                continue

    def _handle(self, record: Record) -> None:
        match record:
            case Stdin(data):
                self._take_input(data)
            case Eof():
                with self._lock:
                    self._input_ended = True
                self._wake()
            case Signal(name):
                if name not in SIGNALS:
                    raise RecordError(f"{name!r} is no signal that can be sent; there are {', '.join(sorted(SIGNALS))}")
                self._kept.signal(name)
            case Resize(rows, columns):
                self._resize(rows, columns)
            case _:
                raise RecordError(f"a {type(record).__name__.upper()} record comes from the agent only")

    def _take_input(self, data: bytes) -> None:
        with self._lock:
            self._granted -= len(data)
            if self._granted < 0:
                raise RecordError(f"{-self._granted} bytes more than were granted came for standard input")
            if self._stdin is not None and not self._input_ended:
                self._input.append(data)
        self._wake()

    def _resize(self, rows: int, columns: int) -> None:
        if not is_size(rows) or not is_size(columns):
            raise RecordError(f"a terminal has no {rows} rows and {columns} columns")
        if self._request.terminal is not None and self._channels is not None and self._ended is None:
            set_size(self._channels.stdout, rows, columns)

    # The end.

    def _end(self, reason: AgentCode, name: str) -> None:
        with self._lock:
            self.reason = self.reason or reason
        self._kept.end(name)

    def _wake(self) -> None:
        with self._lock:
            if self._waker >= 0:
                try:
                    os.write(self._waker, b"\0")
                except BlockingIOError:
                    return  # it is awake

    def _await_end(self) -> Ended:
        """The keeper ends the command in its grace at the latest, so this does not last."""
        if self._ended is None:
            self._ended = self._kept.take_end()
        if self._ended.reason:
            codes = {"time": AgentCode.TIME_LIMIT, "processes": AgentCode.PROCESS_LIMIT, "lost": AgentCode.KEEPER_LOST}
            self.reason = self.reason or codes[self._ended.reason]
        if self._ended.left:
            log.error("%r: %d processes could not be ended", self._stream, self._ended.left)
        return self._ended

    def _say_goodbye(self, ended: Ended) -> None:
        name = signal_name(ended.code)
        sentence = self.why_ended() if self.reason else ""
        self._stream.timeout = PATIENCE_S
        try:
            self._send(Exit(exit_code(ended.code), name, self.reason or 0, sentence))
            self._stream.finish()
        except TimedOut:
            self._stream.reset(ErrorCode.TIMED_OUT, f"nothing of the rest was read within {PATIENCE_S:g} s")
        except RelayError as error:
            log.debug("%r: the caller does not hear the end: %s", self._stream, error)

    def why_ended(self) -> str:
        """Why the agent ended the command, for a person."""
        command = self._command
        sentences = {
            AgentCode.TIME_LIMIT: f"it ran for longer than {command.time_limit_s:g} s",
            AgentCode.OUTPUT_LIMIT: f"it wrote more than {command.output_max_bytes} bytes",
            AgentCode.PROCESS_LIMIT: f"it had more than {command.processes_max} processes and threads",
            AgentCode.AGENT_STOPPED: "the agent was stopped",
            AgentCode.KEEPER_LOST: "its keeper was killed",
        }
        return f"command {command.name!r} was ended: {sentences[self.reason]}" if self.reason else ""


def exit_code(code: int) -> int:
    """What a shell would say: the code, or 128 and the number of the signal."""
    return code if code >= 0 else 128 - code


def signal_name(code: int) -> str:
    """The signal that a process ended by, from what subprocess calls its returncode; empty if it ended by itself."""
    if code >= 0:
        return ""
    try:
        return signal.Signals(-code).name.removeprefix("SIG")
    except ValueError:
        return str(-code)
