"""What the steps of a transfer want done: each effect is yielded, and its outcome is sent back.

Both shells carry them out, the blocking one at once, the asyncio one without holding up its loop. An effect that fails
is raised where it was yielded. Questions to the relay (relay_client.questions) are effects, too.
"""

from collections.abc import Callable, Generator
from typing import Any, NamedTuple, TypeAlias, TypeVar

from relay.protocol.payloads import Value
from relay_client.questions import Question
from relay_client.streams import ShellStream

T = TypeVar("T")


class Run(NamedTuple):
    """Call a function that waits for a disk; its result. `may_be_left`: it may wait for ever, for standard input, and
    whoever gives up need not wait for its end."""

    function: Callable[[], Any]
    may_be_left: bool = False


class OpenStream(NamedTuple):
    """Open a stream; the stream."""

    to: str
    service: str
    data: Value


class Read(NamedTuple):
    """Read what is there, at least one byte; empty at the end."""

    stream: ShellStream


class Write(NamedTuple):
    """Send bytes."""

    stream: ShellStream
    data: bytes


class Send(NamedTuple):
    """Send a message and wait for the relay's disk, at most so long; its place (Stored)."""

    to: str
    content_type: str
    body: bytes
    timeout_s: float


class Pause(NamedTuple):
    """Let time pass."""

    duration_s: float


class Tell(NamedTuple):
    """Call a function of the program's with one argument; under asyncio it may be a coroutine function. Its result."""

    function: Callable[[Any], Any]
    subject: Any


class Serve(NamedTuple):
    """Offer a service, whose streams are handled by the steps that `steps` makes."""

    service: str
    steps: "Callable[[ShellStream], Work[None]]"


Effect: TypeAlias = Run | OpenStream | Read | Write | Send | Pause | Tell | Serve | Question
Work: TypeAlias = Generator[Effect, Any, T]
