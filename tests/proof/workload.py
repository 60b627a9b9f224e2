"""What the store is put through: a random life of users, rooms, devices and messages, and all that can be read of it.

Each step changes something in one durable transaction, or is upkeep that changes nothing that can be read. The same
steps run on the store in memory, which is what the store on disk must look like.
"""

from collections.abc import Callable, Iterator
from random import Random
from typing import Any, NamedTuple

from relay.protocol.addresses import conversation_for
from relay.protocol.frames import encode_frame
from relay.protocol.limits import HEADER_BYTES
from relay.protocol.scram import Credentials
from relay.store.base import (
    AccountExistsError,
    Append,
    Cursor,
    NoSuchAccountError,
    Reader,
    Role,
    RoomExistsError,
    Store,
)

NAMES = ["ann", "bob", "cy", "dee"]
ROOMS = ["#ops", "#all"]
DEVICES = ["pc", "phone", "~tmp"]
DIRECT = sorted({conversation_for(one, other) for one in NAMES for other in NAMES})
CONVERSATIONS = [*DIRECT, *ROOMS]

_EXPECTED = (AccountExistsError, NoSuchAccountError, RoomExistsError)


class Step(NamedTuple):
    """One thing to do. `changes`: it is one durable transaction; upkeep is not, and is not done in memory."""

    name: str
    run: Callable[[Store], Any]
    changes: bool = True


class Script:
    """Makes steps, without end and the same for the same random numbers."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._clock_ms = 1_000_000
        self._last_ids: dict[tuple[str, str], int] = {}
        self.sent: list[Append] = []

    def first(self) -> Step:
        """Something to begin with: users and rooms."""
        credentials = [self._credentials() for _ in NAMES]

        def begin(store: Store) -> None:
            with store.group():
                for name, credential in zip(NAMES, credentials, strict=True):
                    store.add_account(name, credential, False, 1)
                for room in ROOMS:
                    store.create_room(room, "", True, NAMES[0], 1)
                    for name in NAMES[1:]:
                        store.set_role(room, name, Role.MEMBER, 1)
                for name in NAMES:
                    store.open_device(name, "pc", None, 1)

        return Step("begin", begin)

    def steps(self) -> Iterator[Step]:
        kinds: list[tuple[Callable[[], Step], int]] = [
            (self._append, 50), (self._advance, 12), (self._upkeep, 25), (self._small, 14), (self._several, 4),
        ]  # fmt: skip
        makers, weights = zip(*kinds, strict=True)
        while True:
            self._clock_ms += self._random.randint(0, 50)
            yield self._random.choices(makers, weights)[0]()

    def message(self) -> Append:
        """A message or a run, each of which names itself in its packet; sometimes one that was sent before, sometimes a
        part of a run, sometimes a long one.
        """
        random = self._random
        if self.sent and random.random() < 0.05:
            again = random.choice(self.sent[-400:])
            return random.choice([again, random.choice(again.apart())])
        user, device = random.choice(NAMES), random.choice(DEVICES)
        to = random.choice(ROOMS) if random.random() < 0.4 else conversation_for(user, random.choice(NAMES))
        number = self._last_ids.get((user, device), 0) + random.choice([1, 1, 1, 1, 2])
        length = random.choice([0, 20, 128, 128, 128, 400, 3000, random.randint(0, 30_000)])
        total = random.choice([1, 1, 1, 1, 1, 1, 2, 5, 20]) if length <= 400 else 1
        self._last_ids[user, device] = number + total - 1
        # Of one width, so that the messages of a run are of one size.
        names = [b"<%b %b/%b %06d>" % (to.encode(), user.encode(), device.encode(), number + at) for at in range(total)]
        frames = [encode_frame(name + random.randbytes(length)) for name in names]
        packet = b"".join(frames) if total > 1 else frames[0][HEADER_BYTES:]
        item = Append(to, user, device, number, packet, total=total)
        self.sent.append(item)
        return item

    def _append(self) -> Step:
        items = [self.message() for _ in range(self._random.choice([1, 1, 2, 5, 20, 70]))]
        time_ms = self._clock_ms
        return Step("append", lambda store: store.append(items, time_ms))

    def _advance(self) -> Step:
        cursors = [self._cursor() for _ in range(self._random.randint(1, 8))]
        return Step("advance", lambda store: store.advance(cursors))

    def _cursor(self) -> Cursor:
        user = self._random.choice(NAMES)
        conversation = self._random.choice(CONVERSATIONS)
        read = self._random.choice([None, self._random.randint(0, 60)])
        return Cursor(user, self._random.choice(DEVICES), conversation, self._random.randint(0, 200), read)

    def _upkeep(self) -> Step:
        idle = self._random.random() < 0.5
        return Step("maintain", lambda store: store.maintain(idle), changes=False)

    def _several(self) -> Step:
        operations = [self._operation() for _ in range(self._random.randint(2, 6))]

        def run(store: Store) -> list[Any]:
            with store.group():
                return [attempt(operation, store) for operation in operations]

        return Step("group", run)

    def _small(self) -> Step:
        return Step("change", self._operation())

    def _operation(self) -> Callable[[Store], Any]:
        random, time_ms = self._random, self._clock_ms
        user, other = random.sample(NAMES, 2)
        device, room = random.choice(DEVICES), random.choice(ROOMS)
        role = random.choice([*Role, Role.MEMBER, None])
        credentials, flag, start = self._credentials(), random.random() < 0.5, random.choice([None, 0, 3])
        choices: list[Callable[[Store], Any]] = [
            lambda store: store.open_device(user, device, start, time_ms),
            lambda store: store.open_device(user, device, start, time_ms),
            lambda store: store.seen([(user, device), (other, "pc")], time_ms),
            lambda store: store.set_credentials(user, credentials),
            lambda store: store.set_disabled(user, flag),
            lambda store: store.set_role(room, user, role, time_ms),
            lambda store: store.set_role(room, other, Role.MEMBER, time_ms),
            lambda store: store.create_room(room, f"made {time_ms}", flag, user, time_ms),
            lambda store: store.set_room(room, f"titled {time_ms}", flag),
            lambda store: store.block(user, other),
            lambda store: store.unblock(user, other),
            lambda store: store.add_account(user, credentials, flag, time_ms),
        ]
        rare: list[Callable[[Store], Any]] = [
            lambda store: store.remove_account(user),
            lambda store: store.remove_room(room),
            lambda store: store.forget_device(user, device),
            lambda store: store.forget_devices(time_ms - 500),
        ]
        return random.choice(rare if random.random() < 0.15 else choices)

    def _credentials(self) -> Credentials:
        return Credentials(self._random.randbytes(16), 4096, self._random.randbytes(32), self._random.randbytes(32))


def attempt(operation: Callable[[Store], Any], store: Store) -> Any:
    """What an operation returns, or which of the errors that change nothing it raises."""
    try:
        return operation(store)
    except _EXPECTED as error:
        return type(error)


Contents = dict[str, Any]


def contents(store: Store) -> Contents:
    """Everything that can be read."""
    found: Contents = {"accounts": store.accounts(), "public": store.public_rooms("", 100)}
    for name in CONVERSATIONS:
        found[f"log {name}"] = read_all(store, name)
        found[f"cursors {name}"] = store.cursors(name, 100)
    for room in ROOMS:
        found[f"room {room}"] = (store.room(room), store.members(room, "", 100), store.owners(room))
    for user in NAMES:
        found[f"user {user}"] = [store.joined(user, name) for name in CONVERSATIONS]
        found[f"rooms of {user}"] = store.rooms_of(user)
        found[f"people of {user}"] = (store.blocked_by(user), store.contacts(user, 100))
        # Without their times: the store on disk notes those of messages later, or not at all.
        found[f"devices of {user}"] = [device.device for device in store.devices(user)]
        for device in DEVICES:
            found[f"device {user}/{device}"] = (
                store.backlog(user, device),
                store.conversations(user, device, "", 100),
                store.last_message_id(user, device),
            )
    return found


def read_all(store: Reader, conversation: str) -> list[Any]:
    """Every message of a conversation."""
    return store.read(conversation, 0, 1_000_000, 1 << 40)


def difference(found: Contents, expected: Contents) -> str:
    """The first few things that differ, shortened; empty if nothing does."""
    wrong = [name for name in expected if found.get(name) != expected[name]]
    return "; ".join(
        f"{name}: {str(found.get(name))[:300]} instead of {str(expected[name])[:300]}" for name in wrong[:2]
    )
