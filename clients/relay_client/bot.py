"""Bots: a client with handlers, that runs until it is told to stop."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from relay.protocol.payloads import Value
from relay_client.client import Client, Message, Signal
from relay_client.received import Online, Stored

Function = TypeVar("Function", bound=Callable[..., Any])


class Bot:
    """`url=None`: from RELAY_URL, or given to `run`. `threads`: how many handlers may run at once."""

    client: Client | None

    def __init__(self, url: str | None = None, device: str = "bot", timeout: float = 10, *, threads: int = 8) -> None:
        raise NotImplementedError

    def on_message(self, function: Function) -> Function:
        """Decorator: `function(message)` for each message, in order per conversation."""
        raise NotImplementedError

    def on_signal(self, function: Function) -> Function:
        """Decorator: `function(signal)` for each signal."""
        raise NotImplementedError

    def on_start(self, function: Function) -> Function:
        """Decorator: `function()` once the bot is online for the first time."""
        raise NotImplementedError

    def method(self, name: str) -> Callable[[Function], Function]:
        """Decorator: `function(call, *args, **kwargs)` answers calls of `name`."""
        raise NotImplementedError

    def run(self, url: str | None = None) -> None:
        """Serve until Ctrl-C, SIGTERM or `stop`. Raises LoginFailed and other ConnectionEnded."""
        raise NotImplementedError

    def stop(self) -> None:
        """Make `run` return. From any thread."""
        raise NotImplementedError

    def send(self, to: str, value: Value, *, timeout: float | None = None) -> Stored:
        """As Client.send; for handlers."""
        raise NotImplementedError

    def signal(self, to: str, value: Value) -> None:
        """As Client.signal."""
        raise NotImplementedError

    def call(self, to: str, method: str, *args: Value, timeout: float | None = None, **kwargs: Value) -> Value:
        """As Client.call."""
        raise NotImplementedError

    def who(self, *, timeout: float | None = None) -> list[Online]:
        """As Client.who."""
        raise NotImplementedError


def load(path: Path | str) -> Bot:
    """The Bot in a Python file, whether or not the file calls `bot.run()` at its end. Raises BotFileError."""
    raise NotImplementedError


__all__ = ["Bot", "Message", "Signal", "load"]
