"""The relay put together: the only place that names concrete classes and knows in which order they start and stop.

`run` is the whole life of the process; `Relay` is one relay, of which a test may start several in one process.
"""

import gc
import logging
import random
import resource
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import NamedTuple, TypeVar

import gevent
from gevent.event import Event

import relay
from relay.auth.authenticator import Admit, Authenticator, Decision
from relay.auth.throttle import Throttle
from relay.auth.tickets import Tickets
from relay.config import Settings
from relay.files.service import FileService, TransferLimits
from relay.http.reception import House, Reception
from relay.http.site import Site
from relay.hub import HubPost, wait_for
from relay.protocol.codes import CloseCode, ErrorCode
from relay.router.calls import SLOT_S
from relay.router.membership import Bounds
from relay.router.router import Clocks, Limits, Router
from relay.router.streams import StreamLimits
from relay.session.handshake import Handshake, Terms
from relay.session.outbox import Turn
from relay.session.registry import Registry
from relay.session.session import Session, Surroundings
from relay.store.base import Account, Answer, Append, Arrival, Refusal, Retention, Store, StoreBrokenError, StoreError
from relay.store.blobs import BlobDirectory
from relay.store.files import FileTerms
from relay.store.lock import DataLock
from relay.store.sqlite import SqliteStore
from relay.store.worker import StoreWorker
from relay.transport.allocator import keep_freed_memory
from relay.transport.endpoint import EndpointError, parse_endpoint
from relay.transport.listener import Listener, peer_host
from relay.transport.tls import Tls, TlsError

log = logging.getLogger("relay")

T = TypeVar("T")

AGENT = f"relay/{relay.__version__}"

# Descriptors that are no connections: database, listeners, event loop, logs.
_DESCRIPTORS_RESERVED = 64

# Cursors are written, and changes of accounts looked for, this often. A cursor that is lost with the process only
# means that a device is offered again what it knows.
_HOUSEKEEPING_S = 0.25

# Temporary devices are forgotten this long after they were last seen.
_TEMPORARY_DEVICE_MS = 3600 * 1000
_FORGET_S = 60.0

# Other devices are looked through every so often: that reads all of them. Not before the first hour of the relay is
# over, so that those who come back after a long pause of the relay itself are still known.
_EXPIRE_EVERY_S = 3600.0

_DAY_MS = 24 * 3600 * 1000

# What need not be kept any more is deleted so often, in pieces. It costs two look-ups when there is nothing.
_SWEEP_S = 5.0

_HOUR_MS = 3600 * 1000
_MIB = 1024 * 1024

# A transfer has two open files, and one more for a moment. The reserve has room for those of a few.
_DESCRIPTORS_PER_TRANSFER = 3
_TRANSFERS_IN_RESERVE = 4

# The tickets of live sessions are made good for longer so many times in a lifetime, a few at a time, because the
# thread that does it is the one that stores messages.
_KEEPS_PER_LIFETIME = 4
_KEPT_TOGETHER = 500

# The store's thread and the event loop share one interpreter. Its default of 5 ms would make either wait that long
# for the other; see docs/decisions.
_SWITCH_INTERVAL_S = 0.0005


# Parts of a session refer to each other, so the collector has to run. But what a login makes stays, and at Python's
# own threshold of 700 looking at it again and again was a sixth of what a login costs.
_GC_THRESHOLDS = (20_000, 20, 20)

# Streams of one session that may wait to be accepted.
_OPENING_MAX = 64


# A relay that could not store is not ready for so long after its last attempt: somebody has to try again one day.
_TROUBLE_S = 30.0


class StartError(Exception):
    """The relay cannot start; the text names the cause and the remedy."""


class _Trouble:
    """What fails again and again is said once, and once more when it is over."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._reason: str | None = None
        self._failed_at = 0.0

    @property
    def now(self) -> str | None:
        """What is failing, as a sentence; None if it goes well, or was not tried for so long that it may again."""
        if self._reason is None or time.monotonic() - self._failed_at > _TROUBLE_S:
            return None
        return f"{self._what}: {self._reason}"

    def note(self, problem: StoreError | str | None) -> None:
        """It failed for this reason, or went well."""
        reason = None if problem is None else str(problem)
        if reason is not None:
            self._failed_at = time.monotonic()
        if reason is not None and reason != self._reason:
            log.error("%s: %s", self._what, reason)
        elif reason is None and self._reason is not None:
            log.info("over: %s", self._what)
        self._reason = reason


class _Prepared(NamedTuple):
    """What one trip to the store told a login."""

    decision: Decision | None
    arrival: Arrival | None


class Relay:
    """One relay. `start`, then `stop`; both yield, and are called once."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.broken: StoreBrokenError | None = None
        self.stopped = Event()
        self._draining = False
        self._listeners: list[Listener] = []
        self._chores: list[gevent.Greenlet] = []
        self._open = ExitStack()
        self._storing = _Trouble("messages are refused")
        self._saving = _Trouble("what devices have received cannot be noted")
        self._looking = _Trouble("changes of accounts are not seen")
        self._forgetting = _Trouble("unused devices cannot be forgotten")
        self._sweeping = _Trouble("old messages cannot be deleted")
        self._expire_at = time.monotonic() + _EXPIRE_EVERY_S
        self._clearing = _Trouble("files that have expired cannot be deleted")
        self._keeping = _Trouble("tickets of live sessions are not kept")

    @property
    def addresses(self) -> list[str]:
        """Where the relay listens, with real port numbers."""
        return [str(listener.endpoint) for listener in self._listeners]

    def start(self) -> None:
        """Open the store and listen. Raises StartError; nothing is left open then."""
        with ExitStack() as opened:
            try:
                self._open_store(opened)
                self._compose()
                self._bind(opened)
            except (StoreError, EndpointError, TlsError) as error:
                raise StartError(str(error)) from None
            self._open = opened.pop_all()
        for listener in self._listeners:
            listener.start()
        self._chores = [
            gevent.spawn(_every, 1.0, self.registry.tick),
            gevent.spawn(_every, 1.0, self.router.presence.tick),
            gevent.spawn(_every, SLOT_S, self.router.expire),
            gevent.spawn(_every, _HOUSEKEEPING_S, self.router.receipts.tick),
            gevent.spawn(_every, _HOUSEKEEPING_S, self._housekeep),
            gevent.spawn(_every, _FORGET_S, self._forget_devices),
            gevent.spawn(_every, _SWEEP_S, self._sweep),
            gevent.spawn(_every, _SWEEP_S, self._sweep_files),
            gevent.spawn(self._clear_files),
        ]
        if self._tickets.enabled:
            every_s = self.settings.ticket_lifetime_s / _KEEPS_PER_LIFETIME
            self._chores.append(gevent.spawn(_every, every_s, self._keep_tickets))

    def stop(self) -> None:
        """Drain: accept nobody, store what is under way, tell every session to come back, and wait for them to go."""
        try:
            with gevent.Timeout(self.settings.drain_timeout_s, False):
                self._drain()
        finally:
            self._handshake.stop()
            self.registry.abort()
            gevent.killall(self._chores)
            self._open.close()

    def _drain(self) -> None:
        self._draining = True
        for listener in self._listeners:
            listener.stop()
        self._handshake.stop()
        self.files.stop()
        for session in self.registry.sessions():
            session.hold()
        try:
            self._ask(lambda store: None)
        except StoreError as error:
            log.error("what was under way could not be stored: %s", error)
        spread_ms = int(self.settings.drain_spread_s * 1000)
        self.registry.drain(lambda: random.randint(0, spread_ms))  # noqa: S311
        while len(self.registry):
            gevent.sleep(0.01)

    def _compose(self) -> None:
        settings = self.settings
        self._tls = _make_tls(settings)
        self.router = Router(
            self._worker,
            AGENT,
            Clocks(_clock_ms, time.monotonic),
            Limits(
                settings.sessions_per_user_max,
                settings.calls_in_flight_max,
                Bounds(settings.room_members_max, settings.rooms_per_user_max),
                StreamLimits(settings.streams_max, _OPENING_MAX, settings.outbox_max_bytes),
                _file_terms(settings),
            ),
        )
        self.files = FileService(
            self.router.streams,
            self._worker,
            self._contents,
            terms=_file_terms(settings),
            limits=TransferLimits(
                _transfers_max(settings), settings.transfers_per_user_max, settings.transfer_timeout_s
            ),
            clock_ms=_clock_ms,
        )
        self.router.serve = self.files.end_for
        self.registry = Registry(
            min(settings.connections_max, _descriptors_for_connections(settings)),
            settings.connections_per_address_max,
            (settings.keepalive_interval_s, settings.keepalive_timeout_s),
            settings.slow_reader_timeout_s,
        )
        secret = self._ask(lambda store: store.secret())
        generation = self._ask(lambda store: store.generation())
        self._tickets = Tickets(secret, settings.ticket_lifetime_s)
        self._authenticator = Authenticator(self._look_up, secret, settings.scram_iterations, self._tickets, _clock_ms)
        self._authenticator.resemble(self._ask(lambda store: store.iterations()))
        # The first look tells nothing, but what changes from now on will be told.
        self._ask(lambda store: store.account_changes())
        self._handshake = Handshake(
            Terms(
                settings.handshake_timeout_s,
                settings.logins_at_once_max,
                settings.login_wait_max_s,
                int(settings.keepalive_interval_s * 1000),
                AGENT,
                generation,
                settings.tls_required == "on",
            ),
            self.registry,
            self._authenticator,
            Throttle(settings.login_delay_max_s),
            self._prepare,
            Surroundings(self.router, _turn(), settings.outbox_max_bytes, self._forget_session),
            Reception(
                House(
                    Site() if settings.web == "on" else None,
                    frozenset(settings.web_origins),
                    settings.handshake_timeout_s,
                    self._trouble,
                    self._tls,
                    settings.tls_required == "on",
                )
            ),
        )

    def reload(self) -> None:
        """Read certificate and key again; connections that are there keep theirs. Does not yield."""
        if self._tls is None:
            log.info("there is nothing to read again: tls_cert and tls_key are not set")
            return
        try:
            self._tls.reload()
            log.info("certificate and key were read again")
        except TlsError as error:
            log.error("the old certificate stays in use: %s", error)

    def _trouble(self) -> str | None:
        """Why nobody should be sent here now; None if the relay is ready."""
        if self._draining:
            return "the relay is shutting down"
        if self.broken is not None:
            return f"the relay's disk failed: {self.broken}"
        return self._storing.now

    def _open_store(self, opened: ExitStack) -> None:
        """Lock the data directory and start the store's threads; `opened` learns how to undo that."""
        self._lock = DataLock(self.settings.data)
        opened.callback(self._lock.release)
        self._contents = BlobDirectory(self.settings.data)
        opened.callback(self._contents.close)
        hub_post = HubPost()
        opened.callback(hub_post.close)
        settings = self.settings
        store = SqliteStore(
            settings.data,
            retention=Retention(settings.retention_days * _DAY_MS, settings.retention_bytes, settings.user_quota_bytes),
        )
        opened.callback(store.close)
        self._worker = StoreWorker(
            store,
            hub_post.post,
            self._handle_appended,
            self._handle_broken,
            clock_ms=_clock_ms,
            queue_max=self.settings.store_queue_max,
        )
        self._worker.start()
        opened.callback(self._stop_worker)

    def _stop_worker(self) -> None:
        _complain(wait_for(self._worker.stop))

    def _bind(self, opened: ExitStack) -> None:
        for text in self.settings.listen:
            listener = Listener(parse_endpoint(text), self.settings.unix_mode, self._handshake)
            opened.callback(listener.stop)
            self._listeners.append(listener)

    def _forget_session(self, session: Session) -> None:
        self.registry.discard(session)
        self.registry.release(peer_host(session.peer))

    def _handle_appended(self, batch: list[Append], results: list[Answer]) -> None:
        # A group is stored as a whole, or refused as a whole when the disk is full.
        first = results[0]
        refusal = first if isinstance(first, Refusal) and first.code == ErrorCode.STORE_FAILED else None
        self._storing.note(refusal and refusal.sentence)
        self.router.conversations.handle_appended(batch, results)

    def _handle_broken(self, error: StoreBrokenError) -> None:
        log.critical("stopping: %s", error)
        self.broken = error
        for session in self.registry.sessions():
            session.end(CloseCode.STORE_FAILED, "the relay's disk failed; it stops without acknowledging more")
        self.stopped.set()

    def _ask(self, operation: Callable[[Store], T]) -> T:
        """Run an operation on the store's thread; this greenlet waits. Raises StoreError."""

        def start(done: Callable[[T | StoreError], None]) -> None:
            self._worker.write(operation, done)

        return _value(wait_for(start))

    def _prepare(self, user: str, device: str, admit: Admit | None) -> tuple[int, Decision | None]:
        """What a login needs of the store: one trip, whose answer the router learns before anything newer."""

        def look(store: Store) -> _Prepared:
            decision = admit(store) if admit else None
            if isinstance(decision, Exception):
                return _Prepared(decision, None)
            return _Prepared(decision, store.arrival(user, device))

        def start(done: Callable[[_Prepared | StoreError], None]) -> None:
            def learn(found: _Prepared | StoreError) -> None:
                if isinstance(found, _Prepared) and found.arrival:
                    self.router.learn(user, found.arrival.rooms, found.arrival.blocked)
                done(found)

            self._worker.write(look, learn)

        prepared = _value(wait_for(start))
        return prepared.arrival.last_message_id if prepared.arrival else 0, prepared.decision

    def _look_up(self, name: str) -> Account | None:
        def start(done: Callable[[Account | StoreError | None], None]) -> None:
            self._worker.read(lambda reader: reader.account(name), done)

        return _value(wait_for(start))

    def _housekeep(self) -> None:
        self.router.conversations.save_cursors(self._saving.note)
        self._worker.write(_account_changes, self._handle_account_changes)

    def _handle_account_changes(self, changes: list[tuple[str, Account | None]] | StoreError) -> None:
        if isinstance(changes, StoreError):
            _complain(changes)
            return
        for name, account in changes:
            valid = account is not None and not account.disabled
            self.router.end_outdated(name, account.credentials.stored_key if account and valid else None)
        if changes:
            self._worker.read(lambda reader: reader.iterations(), self._handle_iterations)

    def _handle_iterations(self, found: dict[int, int] | StoreError) -> None:
        if isinstance(found, StoreError):
            _complain(found)
        else:
            self._authenticator.resemble(found)

    def _keep_tickets(self) -> None:
        """Let the tickets of everybody who is here grow no older, and forget those that nobody can use."""
        live = [(session.user, session.device) for session in self.router.directory.everybody()]
        for start in range(0, len(live), _KEPT_TOGETHER):
            some = live[start : start + _KEPT_TOGETHER]
            self._worker.write(partial(_keep, some, self._tickets.until_ms(_clock_ms())), self._keeping.note)
            gevent.sleep(_HOUSEKEEPING_S)
        self._worker.write(lambda store: store.forget_tickets(_clock_ms()), _complain)

    def _forget_devices(self) -> None:
        live = [(session.user, session.device) for session in self.router.directory.everybody()]

        def forget(store: Store) -> None:
            store.seen(live, _clock_ms())
            store.forget_devices(_clock_ms() - _TEMPORARY_DEVICE_MS, unused_since_ms)

        unused_since_ms = 0
        if self.settings.device_expiry_days and time.monotonic() >= self._expire_at:
            self._expire_at = time.monotonic() + _EXPIRE_EVERY_S
            unused_since_ms = _clock_ms() - self.settings.device_expiry_days * _DAY_MS
        self._worker.write(forget, self._forgetting.note)

    def _sweep(self) -> None:
        self._worker.write(lambda store: store.sweep(_clock_ms()), self._sweeping.note)

    def _sweep_files(self) -> None:
        try:
            self.files.sweep()
            self._clearing.note(None)
        except StoreError as error:
            self._clearing.note(error)

    def _clear_files(self) -> None:
        try:
            self.files.clear()
        except StoreError as error:
            log.error("what was left of files by an earlier run cannot be deleted: %s", error)


def run(settings: Settings) -> int:
    """Run a relay until a signal ends it; returns the process's exit code. Raises StartError."""
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    gc.set_threshold(*_GC_THRESHOLDS)
    _raise_descriptor_limit()
    keep_freed_memory()
    server = Relay(settings)
    server.start()
    signals = [gevent.signal_handler(number, server.stopped.set) for number in (signal.SIGTERM, signal.SIGINT)]
    gevent.signal_handler(signal.SIGHUP, server.reload)
    for address in server.addresses:
        print(f"listening on {address}", flush=True)
    server.stopped.wait()
    for watcher in signals:
        watcher.cancel()
    at_once = gevent.event.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, at_once.set)
    draining = gevent.spawn(server.stop)
    gevent.wait([draining, at_once], count=1)
    if not draining.ready():
        log.warning("second signal: ending at once")
        server.registry.abort()
        return 1
    draining.get()
    return 1 if server.broken else 0


def _turn() -> Turn:
    """The turns of this thread's event loop. What is late has the lowest priority in the turn that it waits for."""
    loop = gevent.get_hub().loop
    late = loop.timer(0, priority=loop.MINPRI)
    return Turn(loop.run_callback, lambda work: late.start(work, update=False))


def _make_tls(settings: Settings) -> Tls | None:
    """Raises TlsError."""
    if settings.tls_cert and settings.tls_key:
        return Tls(settings.tls_cert, settings.tls_key)
    if settings.tls_cert or settings.tls_key:
        missing = "tls_key" if settings.tls_cert else "tls_cert"
        raise TlsError(f"{missing} is missing: TLS needs a certificate (tls_cert) and its key (tls_key)")
    if settings.tls_required == "on":
        raise TlsError("tls_required is on, but there is no certificate: set tls_cert and tls_key")
    return None


def _value(answer: T | StoreError) -> T:
    if isinstance(answer, StoreError):
        raise answer
    return answer


def _every(seconds: float, chore: Callable[[], None]) -> None:
    while True:
        gevent.sleep(seconds)
        try:
            chore()
        except Exception:
            log.exception("a recurring task failed; it will be tried again")


def _complain(result: object) -> None:
    if isinstance(result, StoreError):
        log.error("%s", result)


def _account_changes(store: Store) -> list[tuple[str, Account | None]]:
    """The accounts that changed, each as it is now; None for one that was removed."""
    return [(name, store.account(name)) for name in store.account_changes()]


def _keep(devices: list[tuple[str, str]], until_ms: int, store: Store) -> None:
    store.keep_tickets(devices, until_ms)


def _clock_ms() -> int:
    return time.time_ns() // 1_000_000


def _descriptors() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _transfers_max(settings: Settings) -> int:
    """Where few files may be open, most of them are for connections."""
    return min(settings.transfers_max, max(_TRANSFERS_IN_RESERVE, (_descriptors() - _DESCRIPTORS_RESERVED) // 16))


def _descriptors_for_connections(settings: Settings) -> int:
    beyond = max(0, _transfers_max(settings) - _TRANSFERS_IN_RESERVE)
    return _descriptors() - _DESCRIPTORS_RESERVED - _DESCRIPTORS_PER_TRANSFER * beyond


def _file_terms(settings: Settings) -> FileTerms:
    return FileTerms(
        settings.files_quota_mb * _MIB,
        settings.file_max_mb * _MIB,
        settings.files_keep_days * _DAY_MS,
        settings.uploads_keep_hours * _HOUR_MS,
    )


def _raise_descriptor_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
