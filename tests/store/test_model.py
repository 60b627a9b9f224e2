"""Any sequence of operations, restarts and crashes: the store on SQLite answers as the store in memory does."""

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from relay.store.base import Append, Reader, Retention, Store, StoreError
from relay.store.memory import MemoryStore
from tests.store.disk import Disk
from tests.store.samples import CREDENTIALS, cursor, run_of

NAMES = ["ann", "bob", "cy"]
CONVERSATIONS = ["ann@ann", "ann@bob", "ann@cy", "bob@bob", "bob@cy", "cy@cy"]
DEVICES = ["pc", "phone", "~tmp"]

names = st.sampled_from(NAMES)
devices = st.sampled_from(DEVICES)
small = st.integers(0, 12)


@st.composite
def appends(draw: st.DrawFn) -> Append:
    """A message; its content is one of two, so that ids are used again for the same and for another one."""
    sender, to = draw(names), draw(names)
    first, second = sorted((sender, to))
    # Steps of 70 fill the window of 256 with few draws; see `burst`.
    number = draw(st.integers(1, 12)) + draw(st.sampled_from([0, 0, 70, 300]))
    packet = f"{sender} to {to} {number} {draw(st.booleans())}".encode()
    return Append(f"{first}@{second}", sender, draw(devices), number, packet)


class Stores(RuleBasedStateMachine):
    """Runs each operation on both stores and compares the answers, then everything that can be read."""

    @initialize(
        index_every=st.sampled_from([1, 3, 20, 100_000]),
        users=st.sets(names, min_size=1),
        retention=st.builds(
            Retention, st.sampled_from([0, 500]), st.sampled_from([0, 100, 800]), st.sampled_from([0, 300, 3000])
        ),
    )
    def begin(self, index_every: int, users: set[str], retention: Retention) -> None:
        self.clock_ms = 1000
        self.place = tempfile.TemporaryDirectory()
        self.disk = Disk(Path(self.place.name), index_every)
        self.disk.retention = retention
        self.model = MemoryStore(retention)
        self.store = self.disk.open()
        self.reader: Reader = self.store.reader()
        self.both("account_changes")
        for name in sorted(users):
            self.both("add_account", name, CREDENTIALS, False, 0)

    def teardown(self) -> None:
        if hasattr(self, "place"):
            self.reader.close()
            self.disk.close()
            self.place.cleanup()

    def both(self, operation: str, *arguments: Any) -> None:
        answers = [outcome(store, operation, *arguments) for store in (self.model, self.store)]
        assert answers[0] == answers[1], operation

    @rule(items=st.lists(appends(), max_size=20))
    def append(self, items: list[Append]) -> None:
        self.both("append", items, self.clock_ms)

    @rule(sender=names, to=names, device=devices, count=st.sampled_from([70, 257]))
    def burst(self, sender: str, to: str, device: str, count: int) -> None:
        first, second = sorted((sender, to))
        start = self.model.last_message_id(sender, device)
        numbers = range(start + 1, start + count + 1)
        items = [Append(f"{first}@{second}", sender, device, number, b"%d" % number) for number in numbers]
        self.both("append", items, self.clock_ms)

    @rule(
        sender=names,
        to=names,
        device=devices,
        first=st.integers(-4, 4),
        totals=st.lists(st.sampled_from([1, 2, 5, 100]), min_size=1, max_size=4),
        variant=st.sampled_from("aaab"),
    )
    def runs(  # noqa: PLR0917 - what a run is made of
        self, sender: str, to: str, device: str, first: int, totals: list[int], variant: str
    ) -> None:
        """Runs that begin near the last id: new ones, or repetitions of what was stored in runs of other lengths."""
        conversation = "@".join(sorted((sender, to)))
        number = max(1, self.model.last_message_id(sender, device) + first)
        items = []
        for total in totals:
            one = [
                Append(conversation, sender, device, at, b"%6d%s" % (at, variant.encode()))
                for at in range(number, number + total)
            ]
            items.append(run_of(one) if total > 1 else one[0])
            number += total
        self.both("append", items, self.clock_ms)

    @rule(user=names, device=devices, start=st.none() | small)
    def open_device(self, user: str, device: str, start: int | None) -> None:
        self.both("open_device", user, device, start, self.clock_ms)

    @rule(places=st.lists(st.tuples(names, devices, st.sampled_from(CONVERSATIONS), small, st.none() | small)))
    def advance(self, places: list[tuple[str, str, str, int, int | None]]) -> None:
        cursors = [cursor(user, device, at, read, name) for user, device, name, at, read in places]
        self.both("advance", cursors)

    @rule(milliseconds=st.integers(0, 1000))
    def pass_time(self, milliseconds: int) -> None:
        self.clock_ms += milliseconds

    @rule(places=st.lists(st.tuples(names, devices)))
    def seen(self, places: list[tuple[str, str]]) -> None:
        self.both("seen", places, self.clock_ms)

    @rule(age_ms=st.integers(-1, 2000), lasting=st.none() | st.integers(-1, 2000))
    def forget_devices(self, age_ms: int, lasting: int | None) -> None:
        lasting_since_ms = 0 if lasting is None else self.clock_ms - lasting
        self.both("forget_devices", self.clock_ms - age_ms, max(0, lasting_since_ms))

    @rule(name=names)
    def add_account(self, name: str) -> None:
        self.both("add_account", name, CREDENTIALS, False, self.clock_ms)

    @rule(name=names)
    def remove_account(self, name: str) -> None:
        self.both("remove_account", name)

    @rule(name=names, disabled=st.booleans())
    def set_disabled(self, name: str, disabled: bool) -> None:
        self.both("set_disabled", name, disabled)

    @rule(name=names, salt=st.binary(max_size=3))
    def set_credentials(self, name: str, salt: bytes) -> None:
        self.both("set_credentials", name, CREDENTIALS._replace(salt=salt))

    @rule()
    def account_changes(self) -> None:
        changes = [sorted(store.account_changes()) for store in (self.model, self.store)]
        assert changes[0] == changes[1]

    @rule(idle=st.booleans(), pieces=st.integers(1, 4))
    def maintain(self, idle: bool, pieces: int) -> None:
        for _ in range(pieces):
            self.store.maintain(idle)

    @rule(pieces=st.integers(0, 12), crash=st.booleans())
    def sweep(self, pieces: int, crash: bool) -> None:
        """All that is due is deleted, also where the process died in the middle of it."""
        self.both("sweep", self.clock_ms)
        for _ in range(pieces):
            self.store.maintain(True)
        if crash:
            self.crash()
            self.store.sweep(self.clock_ms)
        for _ in range(10_000):
            if not self.store.maintain(True):
                return
        raise AssertionError("the sweep has no end")

    @rule()
    def restart(self) -> None:
        self.both("account_changes")
        self.reader.close()
        self.store = self.disk.restart(self.store)
        self.reader = self.store.reader()
        self.store.account_changes()

    @rule()
    def crash(self) -> None:
        self.both("account_changes")
        self.reader.close()
        self.store = self.disk.crash()
        self.reader = self.store.reader()
        self.store.account_changes()

    @invariant()
    def everything_reads_alike(self) -> None:
        if not hasattr(self, "store"):
            return
        for side in (self.store, self.reader):
            assert side.accounts() == self.model.accounts()
            for name in CONVERSATIONS:
                assert side.first_kept(name) == self.model.first_kept(name)
                assert side.head(name) == self.model.head(name)
                assert side.read(name, 0, 10_000, 10**9) == self.model.read(name, 0, 10_000, 10**9)
                assert side.read(name, 5, 3, 10**9) == self.model.read(name, 5, 3, 10**9)
            for user in NAMES:
                assert [side.joined(user, name) for name in CONVERSATIONS] == [
                    self.model.joined(user, name) for name in CONVERSATIONS
                ]
                for device in DEVICES:
                    assert side.backlog(user, device) == self.model.backlog(user, device)
        for user in NAMES:
            for device in DEVICES:
                assert self.store.last_message_id(user, device) == self.model.last_message_id(user, device)


def outcome(store: Store, operation: str, *arguments: Any) -> Any:
    """What an operation returns, or the kind of error it raises."""
    try:
        return getattr(store, operation)(*arguments)
    except StoreError as error:
        return type(error)


TestStores = Stores.TestCase
TestStores.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
