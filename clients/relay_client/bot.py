"""Bots: a client with handlers, that runs until it is told to stop.

    bot = Bot("relay://echo:secret@127.0.0.1:7450")

    @bot.on_message
    def shout(message):
        message.reply(message.text.upper())

    @bot.on_message(room="#ops")
    def note(message):
        print(message.sender, message.text)

    bot.run()

Handlers run in a few threads, side by side, messages of one conversation in order. A message is acknowledged when its
handler has returned; one whose handler was running when the bot was killed comes again. A handler that fails is logged
and does not stop the bot. A bot never hears itself: what its own user sends, from any device, is not handed to it.
"""

import _thread
import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any, TypeVar, overload

from relay.protocol.payloads import Value
from relay_client.blocking import Client, Message, Posted, Signal, Stream
from relay_client.core import Pending
from relay_client.errors import BadUrl, BotFileError, CallFailed, NotConnected
from relay_client.events import Event
from relay_client.methods import Methods
from relay_client.questions import room_name
from relay_client.received import Online, Stored

log = logging.getLogger("relay_client")

URL_VARIABLE = "RELAY_URL"

Function = TypeVar("Function", bound=Callable[..., Any])


class Bot:
    """`url=None`: from `run`, or from the environment variable RELAY_URL. `device` is a lasting one: what comes while
    the bot does not run, it gets when it runs again. `threads`: how many handlers run at once.
    """

    def __init__(self, url: str | None = None, device: str = "bot", timeout: float = 10, *, threads: int = 8) -> None:
        self._url = url
        self._device = device
        self._timeout = timeout
        self._threads = threads
        self._methods = Methods()
        self._message_handler: Callable[[Message], Any] | None = None
        self._room_handlers: dict[str, Callable[[Message], Any]] = {}
        self._event_handler: Callable[[Event], Any] | None = None
        self._signal_handler: Callable[[Signal], Any] | None = None
        self._services: dict[str, Callable[[Stream], Any]] = {}
        self._start_handlers: list[Callable[[], Any]] = []
        self._client: Client | None = None
        self._stopped = False

    def __repr__(self) -> str:
        return f"<Bot {self._client!r}>" if self._client is not None else f"<Bot {self._device}, not running>"

    @overload
    def on_message(self, function: Function) -> Function: ...
    @overload
    def on_message(self, *, room: str) -> Callable[[Function], Function]: ...
    def on_message(self, function: Any = None, *, room: str | None = None) -> Any:
        """Decorator: `function(message)` gets each message, in order per conversation, once even if it fails.

        `@bot.on_message(room="#ops")` gets those of a room, which the bot joins when it starts; the plain
        `@bot.on_message` gets those that no other function does. Raises BadAddress for what cannot name a room.
        """
        if room is None:
            _check_single(self._message_handler, "on_message")
            self._message_handler = function
            return function
        name = room_name(room)

        def add(function: Function) -> Function:
            _check_single(self._room_handlers.get(name), f"on_message in {name}")
            self._room_handlers[name] = function
            return function

        return add

    def on_event(self, function: Function) -> Function:
        """Decorator: `function(event)` gets what happens besides, as Client.on_event."""
        _check_single(self._event_handler, "on_event")
        self._event_handler = function
        return function

    def on_signal(self, function: Function) -> Function:
        """Decorator: `function(signal)` gets each signal, in order per sender."""
        _check_single(self._signal_handler, "on_signal")
        self._signal_handler = function
        return function

    def on_start(self, function: Function) -> Function:
        """Decorator: `function()` runs once, when the bot is online for the first time."""
        self._start_handlers.append(function)
        return function

    def method(self, name: str) -> Callable[[Function], Function]:
        """Decorator: `function(call, ...)` answers calls of `name` with what it returns, or with a MethodError."""

        def add(function: Function) -> Function:
            self._methods.add(name, function)
            return function

        return add

    def stream(self, service: str) -> Callable[[Function], Function]:
        """Decorator: `function(stream)` gets each stream that is opened to `service`, as Client.serve_stream."""

        def add(function: Function) -> Function:
            _check_single(self._services.get(service), f"streams for {service!r}")
            self._services[service] = function
            return function

        return add

    def run(self, url: str | None = None) -> None:
        """Serve until Ctrl-C, SIGTERM or `stop`, then let the handlers that run finish, and return.

        A second Ctrl-C does not wait for them. The relay may be unreachable at first: the bot goes on trying. Raises
        BadUrl, and LoginFailed or another ConnectionEnded when the relay does not want this bot (any more).
        """
        if _loading.get():
            raise _RunReachedError(self)
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
        chosen = url or self._url or os.environ.get(URL_VARIABLE)
        if not chosen:
            raise BadUrl(f"the bot has no URL: give it to Bot or to run, or set {URL_VARIABLE}")
        with self._stopping_on_signals():
            self._serve(chosen)

    def stop(self) -> None:
        """Make `run` return. May be called from any thread, also from a handler, and before `run`."""
        self._stopped = True
        if self._client is not None:
            self._client.wake()

    @property
    def client(self) -> Client:
        """The client of the running bot. Raises NotConnected while it does not run."""
        if self._client is None:
            raise NotConnected("the bot does not run yet; use this inside its handlers")
        return self._client

    def send(self, to: str, value: Value, *, content_type: str | None = None, timeout: float | None = None) -> Stored:
        """As Client.send; for handlers."""
        return self.client.send(to, value, content_type=content_type, timeout=timeout)

    def post(self, to: str, value: Value, *, content_type: str | None = None, timeout: float | None = None) -> Posted:
        """As Client.post; for handlers."""
        return self.client.post(to, value, content_type=content_type, timeout=timeout)

    def signal(self, to: str, value: Value, *, content_type: str | None = None, timeout: float | None = None) -> None:
        """As Client.signal; for handlers."""
        self.client.signal(to, value, content_type=content_type, timeout=timeout)

    def call(self, to: str, method: str, *args: Value, timeout: float | None = None, **kwargs: Value) -> Value:
        """As Client.call; for handlers."""
        return self.client.call(to, method, *args, timeout=timeout, **kwargs)

    def who(self, *, timeout: float | None = None) -> list[Online]:
        """As Client.who; for handlers."""
        return self.client.who(timeout=timeout)

    def _serve(self, url: str) -> None:
        client = self._client = Client(
            url, self._device, self._timeout, patience_s=None, threads=self._threads, wait=False
        )
        if self._event_handler is not None:
            client.on_event(self._event_handler)
        try:
            ready = client.attach(self._methods, self._on_message(), self._on_signal(), self._services)
            client.wait_until(lambda: self._stopped or self._is_ready(client, ready))
            if not self._stopped:
                self._start(client, ready)
            client.wait_until(lambda: self._stopped)
        finally:
            client.close()
            self._client = None
            self._stopped = False

    @staticmethod
    def _is_ready(client: Client, ready: list[Pending[Any]]) -> bool:
        return client.connected and all(pending.done for pending in ready)

    def _start(self, client: Client, ready: list[Pending[None]]) -> None:
        for pending in ready:
            pending.result()
        log.info("%s is online; Ctrl-C ends it", client.session)
        for name in self._room_handlers:
            client.run_handler("start", partial(self._join, client, name))
        for function in self._start_handlers:
            client.run_handler("start", function)

    @staticmethod
    def _join(client: Client, name: str) -> None:
        try:
            client.rooms.join(name)
        except CallFailed as error:
            log.error("%s hears nothing in %s: %s", client.session, name, error.sentence)

    @contextlib.contextmanager
    def _stopping_on_signals(self) -> Iterator[None]:
        """The first Ctrl-C or SIGTERM stops the bot, a second one does what it did before."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def stop(number: int, frame: FrameType | None) -> None:
            restore()
            # Nothing that waits for a lock may run here: under gevent this is the hub.
            _thread.start_new_thread(self.stop, ())

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}

        def restore() -> None:
            for number, handler in before.items():
                signal.signal(number, handler)

        try:
            yield
        finally:
            restore()

    def _on_message(self) -> Callable[[Message], Any] | None:
        if self._message_handler is None and not self._room_handlers:
            return None
        return lambda message: self._is_own(message) or self._handle_message(message)

    def _handle_message(self, message: Message) -> Any:
        function = self._room_handlers.get(message.to, self._message_handler)
        return None if function is None else function(message)

    def _on_signal(self) -> Callable[[Signal], Any] | None:
        function = self._signal_handler
        return None if function is None else lambda signal: self._is_own(signal) or function(signal)

    def _is_own(self, received: Message | Signal) -> bool:
        return received.sender == self.client.user


def load(path: Path | str) -> Bot:
    """The Bot in a Python file, whether the file ends with `bot.run()`, guards it with `__name__`, or has none.

    Raises BotFileError, and whatever the file itself raises.
    """
    path = Path(path)
    module = ModuleType("relay_bot_file")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module
    sys.path.insert(0, str(path.parent.resolve()))
    token = _loading.set(True)
    try:
        exec(_compile(path), module.__dict__)  # noqa: S102 - to run this file is what was asked for
    except _RunReachedError as reached:
        return reached.bot
    finally:
        _loading.reset(token)
    return _only_bot(path, module)


_loading: ContextVar[bool] = ContextVar("loading a bot file", default=False)


class _RunReachedError(BaseException):
    """While a file is being loaded: it called `bot.run()`. Not an Exception, so that the file does not catch it."""

    def __init__(self, bot: Bot) -> None:
        super().__init__()
        self.bot = bot


def _compile(path: Path) -> CodeType:
    try:
        return compile(path.read_bytes(), str(path), "exec")
    except OSError as error:
        raise BotFileError(f"{path} cannot be read: {error.strerror}") from None
    except (SyntaxError, ValueError) as error:
        raise BotFileError(f"{path} is not a Python program: {error}") from None


def _only_bot(path: Path, module: ModuleType) -> Bot:
    bots = {id(value): value for value in vars(module).values() if isinstance(value, Bot)}
    if len(bots) == 1:
        return next(iter(bots.values()))
    if not bots:
        raise BotFileError(f"{path} holds no bot: it needs a line like  bot = Bot()  at its top level")
    raise BotFileError(f"{path} holds {len(bots)} bots: end it with  bot.run()  of the one that is meant")


def _check_single(handler: object, name: str) -> None:
    if handler is not None:
        raise ValueError(f"this bot has a handler for {name} already; call one function from the other")
