"""`relay exec`: run a command at an agent as if it ran here: its output, its input, its signals, its exit code."""

import contextlib
import logging
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from relay.cli.connection import complete_command, complete_user, connected, connection_options
from relay.cli.display import escape_line, put_json, put_line
from relay.cli.outcome import CommandError, Exit, complain, examples
from relay.cli.terminal import Escape, raw, size

if TYPE_CHECKING:
    from relay_agent.execution import Execution
    from relay_agent.records import Exit as ExitRecord
    from relay_agent.records import Terminal

STDIN, STDOUT, STDERR = 0, 1, 2

# How long a command that was given up may hold us up with output that nobody takes.
LEAVE_S = 2.0


@click.command(
    "exec",
    context_settings={"allow_interspersed_args": False},
    epilog=examples(
        "relay exec --list build                  # what may I run there?",
        "relay exec build make test",
        "relay exec build/ci-2 make -k            # at this one of several agents; -k goes to make",
        "relay exec build logs nginx | grep 404",
        "tar c . | relay exec build unpack",
        "relay exec -t build python3              # with a terminal; Enter ~ . leaves if nothing else does",
    )
    + "\n\n\b\nExit codes: the command's own, 128+N if signal N ended it, and\n"
    "  124  the agent ended it: it ran too long, wrote too much, or had too many processes\n"
    "  125  no connection, no agent there, or the connection was lost\n"
    "  126  refused: not allowed, wrong arguments, too many runs at once, cannot start\n"
    "  127  no such command, or its program is missing",
)
@click.argument("to", shell_complete=complete_user)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[--] COMMAND [ARGUMENT]...",
    shell_complete=complete_command,
)  # fmt: skip
@click.option("-t", "--tty", is_flag=True, help="Give the command a terminal: this one.")
@click.option("-n", "--no-stdin", is_flag=True, help="Leave standard input alone; in loops and in the background.")
@click.option("--list", "listing", is_flag=True, help="Show what may be run there, with the patterns of arguments.")
@click.option("--json", "as_json", is_flag=True, help="With --list: a JSON object for each command.")
@click.option("--timeout", type=click.FloatRange(0.01, 60), default=10, show_default=True, metavar="S",
    help="For the start. How long a command may run, its agent says.",
)  # fmt: skip
@connection_options
def exec_(
    to: str,
    words: tuple[str, ...],
    tty: bool,
    no_stdin: bool,
    listing: bool,
    as_json: bool,
    timeout: float,
    url: str,
) -> None:
    """Run a command that an agent offers, as if it ran here.

    TO is the user the agent logs in as, or one of its sessions. Output and errors come as they are written, standard
    input is passed on, and so is Ctrl-C; a second Ctrl-C kills. Options of relay exec stand before TO.
    """
    words = words[1:] if words[:1] == ("--",) else words
    if listing:
        with _own_codes():
            _list(to, words, as_json, timeout, url)
        return
    if as_json:
        raise CommandError("--json goes with --list", Exit.USAGE)
    if not words:
        raise CommandError(f"say what to run; try: relay exec --list {to}", Exit.USAGE)
    if tty and not (os.isatty(STDIN) and os.isatty(STDOUT)):
        raise CommandError("-t needs a terminal as standard input and output; leave it out", Exit.USAGE)
    _check_arguments(words)
    _open_standard_streams()
    with _own_codes():
        code = _execute(to, words, tty, no_stdin, timeout, url)
    raise SystemExit(code)


def _execute(to: str, words: tuple[str, ...], tty: bool, no_stdin: bool, timeout: float, url: str) -> int:
    from relay_agent.execution import Execution  # noqa: PLC0415 - brings the protocol

    with connected(url, timeout=max(timeout, 10)) as client, contextlib.ExitStack() as stack:
        logging.getLogger("relay_client").setLevel(logging.ERROR)  # a connection that comes back is of no use to a run
        with _refusals_explained(to):
            execution = Execution(
                client, to, words[0], words[1:], terminal=_terminal() if tty else None, timeout=timeout
            )
        stack.enter_context(execution)
        restore = stack.enter_context(raw(STDIN)) if tty else _nothing
        wires = stack.enter_context(Wires(execution, tty, restore))
        if not no_stdin:
            wires.read_stdin()
        elif not tty:
            execution.end_stdin()
        return wires.carry()


def _check_arguments(words: tuple[str, ...]) -> None:
    for number, word in enumerate(words):
        try:
            word.encode()
        except UnicodeEncodeError:
            what = f"argument {number}" if number else "the command's name"
            raise CommandError(f"{what} is not UTF-8 and cannot be sent", Exit.USAGE) from None


def _open_standard_streams() -> None:
    """A descriptor that our caller has closed must not become that of a socket."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= STDERR:
        pass
    os.close(descriptor)


def _terminal() -> "Terminal":
    from relay_agent.records import Terminal, is_term  # noqa: PLC0415

    term = os.environ.get("TERM", "")
    return Terminal(*size(), term if is_term(term) else "")


class Wires:
    """Everything that goes between this process and an execution. A `with` block takes the signals over."""

    def __init__(self, execution: "Execution", tty: bool, restore: Callable[[], None]) -> None:
        self._execution = execution
        self._tty = tty
        self._restore = restore
        self._left: int | None = None
        self._interrupts = 0
        self._before: dict[int, Any] = {}
        self._reader, self._writer = os.pipe()

    def __enter__(self) -> "Wires":
        os.set_blocking(self._writer, False)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, *([signal.SIGWINCH] * self._tty)]
        self._before = {number: signal.signal(number, lambda number, frame: None) for number in numbers}
        threading.Thread(target=self._follow_signals, name="relay exec signals", daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        signal.set_wakeup_fd(-1)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def read_stdin(self) -> None:
        """Begin to pass standard input on."""
        threading.Thread(target=self._pass_stdin, name="relay exec stdin", daemon=True).start()

    def carry(self) -> int:
        """Show what comes until the command has ended; the exit code. Raises errors of the SDK."""
        from relay_agent.records import Exit as ExitRecord  # noqa: PLC0415
        from relay_agent.records import Stdout  # noqa: PLC0415
        from relay_client import RelayError  # noqa: PLC0415

        try:
            for record in self._execution:
                if isinstance(record, ExitRecord):
                    return self._ended(record)
                _write_all(STDOUT if isinstance(record, Stdout) else STDERR, record.data)
        except (RelayError, OSError) as error:
            if self._left is not None:
                return self._left
            if isinstance(error, BrokenPipeError):
                return 128 + signal.SIGPIPE  # whoever reads our output has enough
            if isinstance(error, RelayError):
                raise CommandError(_why_lost(error), Exit.EXEC_FAILED) from None
            raise CommandError(f"the output cannot be written: {error.strerror}", Exit.EXEC_FAILED) from None
        raise AssertionError("an execution ends with an Exit record or an error")

    def _ended(self, record: "ExitRecord") -> int:
        from relay_agent.records import AgentCode  # noqa: PLC0415

        if not record.reason:
            return record.code & 0xFF
        self._restore()
        limits = (AgentCode.TIME_LIMIT, AgentCode.OUTPUT_LIMIT, AgentCode.PROCESS_LIMIT)
        return complain(record.sentence, Exit.LIMIT_REACHED if record.reason in limits else Exit.EXEC_FAILED)

    # In threads of their own.

    def _pass_stdin(self) -> None:
        escape = Escape()
        while granted := self._execution.wait_granted():
            try:
                data: bytes | None = os.read(STDIN, min(granted, 65536))
            except OSError:  # closed, or a terminal that is gone
                data = b""
            if not data:
                break
            if self._tty and (data := escape.feed(data)) is None:
                self._leave(Exit.EXEC_FAILED)
                return
            self._execution.write_stdin(data)
        self._execution.end_stdin()

    def _follow_signals(self) -> None:
        while numbers := os.read(self._reader, 64):
            for number in numbers:
                self._follow(number)

    def _follow(self, number: int) -> None:
        if number == signal.SIGWINCH:
            self._execution.resize(*size())
        elif number == signal.SIGQUIT:
            self._execution.signal("QUIT")
        elif number != signal.SIGINT or self._interrupts >= 2:
            self._leave(128 + number)
        else:
            self._interrupts += 1
            self._execution.signal("INT" if self._interrupts == 1 else "KILL")

    def _leave(self, code: int) -> None:
        """Give the command up and end, even if our output goes nowhere."""
        self._left = code
        self._execution.close("the caller was ended")
        time.sleep(LEAVE_S)
        self._restore()
        os._exit(code)


def _why_lost(error: Exception) -> str:
    from relay_client import ConnectionLost, StreamReset  # noqa: PLC0415

    if isinstance(error, ConnectionLost):
        return "the connection to the relay broke; the agent ends the command"
    return f"the agent was lost: {error.sentence}" if isinstance(error, StreamReset) else str(error)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:  # somebody else made our output so
            select.select([], [descriptor], [])


def _nothing() -> None:
    """There is no terminal to restore."""


@contextlib.contextmanager
def _own_codes() -> Iterator[None]:
    """What fails here must not look like the command's own failing: other exit codes than those of other commands."""
    try:
        yield
    except CommandError as error:
        own = (Exit.USAGE, Exit.REFUSED, Exit.NOT_FOUND)
        raise CommandError(error.sentence, error.code if error.code in own else Exit.EXEC_FAILED) from error


@contextlib.contextmanager
def _refusals_explained(to: str) -> Iterator[None]:
    from relay_agent.records import AgentCode  # noqa: PLC0415
    from relay_client import CallFailed, StreamReset  # noqa: PLC0415

    from relay.protocol.codes import ErrorCode  # noqa: PLC0415

    try:
        yield
    except (StreamReset, CallFailed) as error:
        if error.code in (ErrorCode.NO_SUCH_SERVICE, ErrorCode.NO_SUCH_METHOD, ErrorCode.NO_SUCH_SESSION):
            raise CommandError(f"no agent answers: {error.sentence}; is `relay agent` running as {to}?") from None
        if error.code in (AgentCode.NO_SUCH_COMMAND, AgentCode.NO_PROGRAM):
            raise CommandError(f"{error.sentence}; try: relay exec --list {to}", Exit.NOT_FOUND) from None
        raise CommandError(error.sentence, Exit.REFUSED if error.code >= 1000 else Exit.EXEC_FAILED) from None


def _list(to: str, words: tuple[str, ...], as_json: bool, timeout: float, url: str) -> None:
    from relay_agent.execution import offered_commands  # noqa: PLC0415

    if words:
        raise CommandError("--list goes without a command", Exit.USAGE)
    with connected(url, timeout=max(timeout, 10)) as client, _refusals_explained(to):
        rows = offered_commands(client, to, timeout=timeout)
    if not rows and not as_json:
        click.echo(f"relay: {to} offers you no commands", err=True)
    shown = [(_usage(row), str(row.get("help", ""))) for row in rows]
    width = min(40, max((len(usage) for usage, _ in shown), default=0))
    for row, (usage, text) in zip(rows, shown, strict=True):
        if as_json:
            put_json(row)
        else:
            put_line(escape_line(f"{usage:<{width}}  {text}".rstrip()))


def _usage(row: dict[str, Any]) -> str:
    """`make test|build [-k]`, from what the agent tells."""
    least = row.get("arguments_min", 0)
    parts = [str(row["name"])]
    for number, pattern in enumerate(row.get("arguments", [])):
        parts.append(str(pattern) if number < least else f"[{pattern}]")
    if row.get("more") is not None:
        parts.append(f"[{row['more']}]...")
    return " ".join([*parts, *(["(-t)"] if row.get("tty") else [])])
