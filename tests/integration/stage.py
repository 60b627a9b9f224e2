"""A relay process with accounts on it, and a stage: a test's place on it, with two bystanders who must notice nothing.

The bystanders exchange messages and signals without a pause. Whatever a test does to the relay, at its end they have
gone on, the relay has no descriptor more than before, and its log has no traceback.
"""

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from types import TracebackType

from relay.protocol.packets import Delivery, Signal, Stored
from relay.protocol.scram import make_credentials
from relay.store.sqlite import SqliteStore
from tests.integration.peer import PASSWORD, Peer, eventually, message_in
from tests.process import COMMAND, Running

# The least that clients accept: logins are many here, and guessing is nobody's business.
ITERATIONS = 4096
CREDENTIALS = make_credentials(PASSWORD, ITERATIONS)
ACCOUNTS = 3000

# gevent watches for greenlets (logins, chores) that keep the event loop waiting, and complains on stderr. A busy
# machine stops a process for tens of milliseconds at any moment, hence not less.
WATCH = {"GEVENT_MONITOR_THREAD_ENABLE": "1", "GEVENT_MAX_BLOCKING_TIME": "1.0"}
COMPLAINTS = ("Traceback", "appears to be blocked", "the relay has a bug", "recurring task failed")

# Between two exchanges of the bystanders; and when memory is measured, for what they store fills caches.
PACE_S = 0.005
QUIET_PACE_S = 0.5


class RelayProcess:
    """`relay serve` on a data directory with accounts, all with the same password. Settings as in `config.Settings`."""

    def __init__(self, home: Path, listen: Sequence[str] = ("127.0.0.1:0",), **settings: object) -> None:
        self.home = home
        self.data = home / "data"
        self._listen = listen
        self._settings = {"scram_iterations": ITERATIONS, **settings}
        self._users = (f"user{number}" for number in range(ACCOUNTS))
        self._sources = (f"127.{a}.{b}.1" for a in range(1, 250) for b in range(1, 250))
        self.addresses: list[str] = []
        self.command: Sequence[str] = COMMAND

    def __enter__(self) -> "RelayProcess":
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.process.process.poll() is None:
            self.process.process.kill()
        self.process.wait()

    @property
    def words(self) -> list[str]:
        """The command's arguments."""
        words = ["serve", "--data", str(self.data)]
        for address in self._listen:
            words += ["--listen", address]
        for name, value in self._settings.items():
            words += [f"--{name.replace('_', '-')}", str(value)]
        return words

    def start(self) -> None:
        """Start it, for the first time or again."""
        if not (self.data / "relay.db").exists():
            make_accounts(self.data)
        self.process = Running(self.words, self.home, WATCH, self.command)
        self.addresses = [self.process.line().removeprefix("listening on ") for _ in self._listen]

    @property
    def address(self) -> str:
        return self.addresses[0]

    @property
    def pid(self) -> int:
        return self.process.process.pid

    def user(self) -> str:
        """An account that nobody else uses."""
        return next(self._users)

    def source(self) -> str:
        """A loopback address that nobody else connects from."""
        return next(self._sources)

    def descriptors(self) -> list[str]:
        """What the process has open, but for its database: the store's threads open their files at their first use."""
        found = []
        for entry in Path(f"/proc/{self.pid}/fd").iterdir():
            try:
                found.append(str(entry.readlink()))
            except FileNotFoundError:
                continue
        return sorted(name for name in found if not name.startswith(str(self.data)))

    def resident_bytes(self) -> int:
        """Memory of the process."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) * 1024

    def check_log(self) -> None:
        """Nothing in the log speaks of a defect."""
        for complaint in COMPLAINTS:
            assert not self.process.seen(complaint), self.process.seen("")


def make_accounts(data: Path) -> None:
    """A database with the accounts user0, user1, ..."""
    store = SqliteStore(data)
    with store.group():
        for number in range(ACCOUNTS):
            store.add_account(f"user{number}", CREDENTIALS, False, 0)
    store.close()


class Bystanders:
    """Two users who talk to each other, in a thread of their own; each exchange is checked."""

    def __init__(self, relay: RelayProcess) -> None:
        source = relay.source()
        self._first, self._second = (Peer(relay.address, source) for _ in range(2))
        self._first.log_in(relay.user())
        self._second.log_in(relay.user())
        self._second.receive_messages()
        self._exchanges = 0
        self._failure: BaseException | None = None
        self._stopping = threading.Event()
        self.pace_s = PACE_S
        self._thread = threading.Thread(target=self._talk, daemon=True)
        self._thread.start()

    def go_on(self) -> None:
        """Two exchanges have taken place since this was called, from the first step to the last."""
        target = self._exchanges + 3
        eventually(lambda: self._failure is not None or self._exchanges >= target, lambda: "an exchange of bystanders")
        if self._failure is not None:
            raise AssertionError(f"a bystander was disturbed: {self._failure!r}") from self._failure

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()
        self._first.close()
        self._second.close()

    def _talk(self) -> None:
        try:
            for number in count(1):
                self._exchange(number)
                self._exchanges += 1
                if self._stopping.wait(self.pace_s):
                    return
        except BaseException as failure:
            self._failure = failure

    def _exchange(self, number: int) -> None:
        body = b"message %d" % number
        self._first.message(self._second.address.partition("/")[0], number, body)
        stored, delivery = self._first.expect(Stored), self._second.expect(Delivery)
        assert (stored.id, stored.offset, delivery.offset) == (number, number, number)
        assert message_in(delivery).body == body
        self._second.signal(self._first.address, body)
        assert self._first.expect(Signal).body == body


class Stage:
    """One test's place on a relay. `connect`, `session` and `user` give what nobody else uses."""

    def __init__(self, relay: RelayProcess) -> None:
        self.relay = relay
        self.source = relay.source()
        self._peers: list[Peer] = []

    def __enter__(self) -> "Stage":
        with ExitStack() as opened:
            self._bystanders = Bystanders(self.relay)
            opened.callback(self._bystanders.stop)
            self._bystanders.go_on()
            self._before = self.relay.descriptors()
            opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exception: BaseException | None, trace: TracebackType | None
    ) -> None:
        for peer in self._peers:
            peer.close()
        try:
            if exception is None:
                self.undisturbed()
                self.back_to_before()
                self.relay.check_log()
        finally:
            self._bystanders.stop()

    def connect(self, source: str | None = None, receive_buffer_bytes: int | None = None) -> Peer:
        """A connection that has said nothing yet."""
        peer = Peer(self.relay.address, source or self.source, receive_buffer_bytes)
        self._peers.append(peer)
        return peer

    def user(self) -> str:
        """A user of this test's own."""
        return self.relay.user()

    def session(self, user: str | None = None, device: str = "device", receive_buffer_bytes: int | None = None) -> Peer:
        """A peer that is logged in: as a user of its own if none is named."""
        peer = self.connect(receive_buffer_bytes=receive_buffer_bytes)
        peer.log_in(user or self.user(), device)
        return peer

    def undisturbed(self) -> None:
        """The bystanders talk on, now."""
        self._bystanders.go_on()

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Meanwhile the bystanders store next to nothing."""
        self._bystanders.pace_s = QUIET_PACE_S
        try:
            yield
        finally:
            self._bystanders.pace_s = PACE_S

    def back_to_before(self, besides: int = 0) -> None:
        """The relay has no more descriptors than when the test began, `besides` connections apart."""
        eventually(
            lambda: len(self.relay.descriptors()) <= len(self._before) + besides,
            lambda: f"back to {self._before}, but {self.relay.descriptors()}",
        )

    def one_log_line(self, peer: Peer, *words: str) -> None:
        """The log speaks of this peer in one line, apart from its login, and that line contains all of `words`."""
        self.relay.process.await_line(peer.name, *words)
        name = re.compile(re.escape(peer.name) + r"(?!\d)")
        lines = [line for line in self.relay.process.seen(peer.name) if name.search(line)]
        lines = [line for line in lines if " logged in from " not in line]
        assert len(lines) == 1, lines
        assert all(word in lines[0] for word in words), lines
        assert lines[0].isprintable()


@contextmanager
def staged(relay: RelayProcess) -> Iterator[Stage]:
    """A stage on a relay that the test has started itself."""
    with Stage(relay) as stage:
        yield stage
