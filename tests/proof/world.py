"""A relay without sockets, threads and clock: real sessions, router and store, whose every step the test takes.

Beside each step of the store goes the same step of the reference; whatever the relay then tells anybody is judged by
the programs.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from relay.protocol.addresses import conversation_for
from relay.protocol.codes import ErrorCode
from relay.protocol.packets import Ack, Welcome, encode
from relay.router.membership import Bounds
from relay.router.router import Clocks, Limits, Router
from relay.session.outbox import Turn
from relay.session.session import Identity, Session, Surroundings
from relay.store.base import Append, Appended, Cursor, Refusal, Retention, Store
from tests.proof.program import Pipe, Program
from tests.proof.reference import Line, Reference
from tests.router.recording import SteppedLog
from tests.router.town import NO_CREDENTIALS

USERS = ("ann", "bob", "cat")
DEVICES = ("pc", "tv")

# Small, so that a few messages fill them.
_OUTBOX_BYTES = 400
_PIPE_BYTES = 300
RETENTION = Retention(conversation_bytes=150)


class _Told:
    """A store that tells the reference of what reaches it from inside the relay: cursors, and devices that open."""

    def __init__(self, store: Store, world: "World") -> None:
        self._store = store
        self._world = world

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def advance(self, cursors: Sequence[Cursor]) -> None:
        self._store.advance(cursors)
        for cursor in cursors:
            acknowledged = self._world.acknowledgements[f"{cursor.user}/{cursor.device}", cursor.conversation]
            assert cursor.delivered in acknowledged, f"nobody acknowledged {cursor}"
            self._world.reference.advance(cursor)

    def open_device(self, user: str, device: str, start: int | None, time_ms: int) -> None:
        self._store.open_device(user, device, start, time_ms)
        reference, program = self._world.reference, self._world.programs[user, device]
        program.new = reference.open_device(user, device, start)
        program.base = {line: reference.cursor(user, device, line) for line in reference.present(user)}
        for line, cursor in program.base.items():
            noted = self._world.noted.get((program.address, line), 0)
            assert cursor >= noted, (
                f"{program.address} acknowledged {line} {noted}, and the relay goes on behind {cursor}"
            )

    def last_message_id(self, user: str, device: str) -> int:
        found = self._store.last_message_id(user, device)
        sent = self._world.reference.device(user, device).sent
        assert found == max(sent, default=0), f"{found} of {sorted(sent)}"
        return found


class _Log(SteppedLog):
    """A stepped log that takes the reference along. `current` is the call that is being acted on."""

    def __init__(self, store: Store, world: "World") -> None:
        super().__init__(store)
        self._told = _Told(store, world)
        self._world = world
        self.current: Callable[[], None] | None = None

    def write(self, operation: Callable[[Store], Any], done: Callable[[Any], None]) -> None:
        note = self.current
        super().write(lambda store: (operation(self._told), note and note())[0], done)  # type: ignore[arg-type]

    def read(self, operation: Callable[[Any], Any], done: Callable[[Any], None]) -> None:
        note = self.current
        super().read(lambda reader: (operation(reader), note and note())[0], done)

    def commit(self) -> None:
        if self._appends:
            batch, self._appends = self._appends, []
            wanted = [self._world.expect(item) for item in batch]
            results = self.store.append(batch, self.time_ms)
            self._world.compare(batch, wanted, results)
            self._answers.append(lambda: self.on_appended(batch, results))
        super().commit()
        self._world.maintain(False)


class World:
    """`store` is used until `restart` is given another."""

    def __init__(self, store: Store) -> None:
        self.reference = Reference(USERS)
        self.programs = {(user, name): Program(self, user, name) for user in USERS for name in DEVICES}
        # By address and message id: codes with which it was refused; payloads that were sent again.
        self.refusals: dict[tuple[str, int], set[int]] = defaultdict(set)
        self.repeated: dict[tuple[str, int], bytes] = {}
        # Where each payload stands.
        self.places: dict[bytes, list[tuple[Line, int]]] = defaultdict(list)
        # By address and conversation: every offset that the relay was told is processed.
        self.acknowledgements: dict[tuple[str, str], set[int]] = defaultdict(set)
        # The highest of them that this process was told.
        self.noted: dict[tuple[str, Line], int] = {}
        # Payloads that came again after retention had taken them.
        self.deleted: set[bytes] = set()
        self.acknowledged = 0
        self._bodies = 0
        self._turns: deque[Callable[[], None]] = deque()
        for user in USERS:
            store.add_account(user, NO_CREDENTIALS, False, 0)
        self._begin(store)

    def _begin(self, store: Store) -> None:
        self._turns.clear()
        self.log = _Log(store, self)
        self.router = Router(
            self.log, "relay/model", Clocks(lambda: 1_000_000, lambda: 100.0), Limits(8, 100, Bounds(10, 10))
        )
        self.log.on_appended = self.router.conversations.handle_appended
        self._surroundings = Surroundings(self.router, Turn(self._turns.append), _OUTBOX_BYTES, lambda session: None)

    # What the reference says of messages.

    def fresh_body(self, size: int) -> bytes:
        """A body that nobody else sends."""
        self._bodies += 1
        return self._bodies.to_bytes(4, "big") + bytes(size)

    def expect(self, item: Append) -> tuple[int, bool] | int:
        wanted = self.reference.append(item)
        address = f"{item.user}/{item.device}"
        if isinstance(wanted, int):
            self.refusals[address, item.message_id].add(int(wanted))
            if wanted == ErrorCode.ID_REUSED and item.packet in self.places:
                self.deleted.add(item.packet)
        elif not wanted[1]:
            self.places[item.packet].append((self.reference.line(item.conversation), wanted[0]))
        return wanted

    def compare(self, batch: list[Append], wanted: list[Any], results: Sequence[Appended | Refusal]) -> None:
        found = [
            int(result.code) if isinstance(result, Refusal) else (result.offset, result.repeated) for result in results
        ]
        expected = [int(want) if isinstance(want, int) else want for want in wanted]
        assert found == expected, f"the store answered {found} instead of {expected} to {[item[:4] for item in batch]}"

    # What programs do.

    def feed(self, program: Program, data: bytes) -> None:
        """Bytes from a program arrive, all at once."""
        if program.pipe is not None and data:
            program.pipe.put(data)

    def connect(self, program: Program) -> None:
        """A login begins; it is complete once the store has answered."""
        self.leave(program)
        pipe = Pipe(_PIPE_BYTES)
        program.connected(pipe)
        expecting: AbstractContextManager[None] = self.router.expecting(program.user)
        expecting.__enter__()
        router, log = self.router, self.log

        def look() -> None:
            router.directory.replace(program.address)
            log.write(_look(program.user, program.name), found)

        def found(answer: tuple[int, list[str], list[str]]) -> None:
            router.learn(program.user, *answer[1:])
            if router.directory.session(program.address) is not None:
                look()
                return
            begin(answer[0])
            expecting.__exit__(None, None, None)

        def begin(last_message_id: int) -> None:
            session = Session(Identity(program.user, program.name, False), pipe, self._surroundings)  # type: ignore[arg-type]
            welcome = Welcome(1, program.address, b"", 30_000, 0, last_message_id, 1 << 20, None, "model", "g")
            session.outlet.push(encode(welcome))
            session.start()
            router.enter(session)
            if program.pipe is not pipe:
                pipe.hang_up()

        look()

    def leave(self, program: Program) -> None:
        """The connection breaks, and the relay notices."""
        pipe = program.pipe
        program.lose()
        if pipe is not None:
            pipe.hang_up()

    def call(self, program: Program, method: str, arguments: Any, expect: Callable[[], Any] | None = None) -> None:
        """A call that arrives at once."""
        frame, self.log.current = program.call(method, arguments, expect)
        try:
            self.feed(program, frame)
        finally:
            self.log.current = None

    def acknowledge(self, program: Program) -> None:
        """The program tells how far it is."""
        for conversation, offset in program.positions():
            self.acknowledgements[program.address, conversation].add(offset)
            self.noted[program.address, self.reference.line(conversation)] = offset
            self.feed(program, encode(Ack(conversation, offset, None)))

    def history(self, program: Program, of: str, after: int | None, limit: int) -> None:
        """The program reads a conversation: the newest messages, or those behind an offset."""
        name = conversation_for(program.user, of)
        arguments = {"conversation": of, "limit": limit} | ({} if after is None else {"after": after})
        expect = partial(self.reference.history, program.user, name, after, limit)
        self.call(program, "history.read", arguments, expect)

    def forget(self, program: Program, forgotten: Program) -> None:
        """One program has another device of its user forgotten, whose program begins anew."""

        def expect() -> None:
            self.reference.forget(forgotten.user, forgotten.name)
            self.noted = {key: offset for key, offset in self.noted.items() if key[0] != forgotten.address}

        self.call(program, "devices.forget", {"device": forgotten.name}, expect)
        forgotten.begin_anew()

    # What happens by itself.

    def turn(self) -> None:
        """The end of a turn of the event loop."""
        for _ in range(len(self._turns)):
            self._turns.popleft()()

    def housekeep(self) -> None:
        """Write what was acknowledged."""
        self.router.conversations.save_cursors(lambda problem: None)

    def sweep(self, wholly: bool) -> None:
        """What is over the bound begins to be deleted; piece by piece, unless it has to happen `wholly` now, as it has
        if there are rooms that ended: which of their messages are left cannot be seen from outside.
        """
        reference = self.reference
        due = {line: reference.fitting(line, RETENTION.conversation_bytes) for line in reference.logs}
        ended = any(reference.is_over(line) for line in due)
        self.log.store.sweep(self.log.time_ms)
        self._see_what_is_kept()
        if wholly or ended:
            while self.maintain(False):
                pass
            reference.clear_ended()
            for line, first in due.items():
                assert reference.first_kept(line) >= first, f"{line} is over its bound"

    def maintain(self, idle: bool) -> bool:
        """A piece of what the store has left for later."""
        more = self.log.store.maintain(idle)
        self._see_what_is_kept()
        return more

    def _see_what_is_kept(self) -> None:
        """What went was over the bound."""
        reference = self.reference
        for line in reference.logs:
            if not reference.is_over(line) and line == reference.line(line.conversation):
                found, known = self.log.store.first_kept(line.conversation), reference.first_kept(line)
                most = reference.fitting(line, RETENTION.conversation_bytes)
                assert known <= found <= most, f"{line} was kept from {known} on, now from {found} instead of {most}"
                reference.kept[line] = found

    def restart(self, store: Store) -> None:
        """The process ends in the middle of whatever it does, and a new one begins with what is on the disk."""
        for program in self.programs.values():
            program.lose()
        self.noted.clear()
        self._begin(store)

    def begin(self) -> None:
        """Everybody is there, most receive, and there is a room."""
        for program in self.programs.values():
            self.connect(program)
        self.settle()
        for program in list(self.programs.values())[:4]:
            self.receive(program, None)
        ann, bob = self.programs["ann", "pc"], self.programs["bob", "pc"]
        self.call(ann, "rooms.create", {"room": "#hall"}, lambda: self.reference.create("ann", "#hall", True))
        self.call(bob, "rooms.join", {"room": "#hall"}, lambda: self.reference.join("bob", "#hall"))
        self.settle()

    def step(self, name: str) -> None:
        """One step of the store's thread, of a reader or of the event loop, if there is one to take."""
        if name == "turn":
            self.turn()
        elif self.log.can[name]:
            getattr(self.log, name)()

    def settle(self) -> None:
        """Everything that is under way arrives."""
        for _ in range(500):
            self.log.run()
            self.turn()
            before = self.acknowledged, sum(len(program.got) for program in self.programs.values())
            for program in self.programs.values():
                program.read(1 << 20)
            after = self.acknowledged, sum(len(program.got) for program in self.programs.values())
            if before == after and not self._turns and not any(self.log.can.values()) and not self._readable():
                return
        raise AssertionError("it never comes to rest")

    def _readable(self) -> bool:
        return any(program.pipe is not None and program.pipe.readable for program in self.programs.values())

    def finish(self) -> None:
        """Everybody comes, gets everything, and nothing is missing."""
        for program in self.programs.values():
            self.connect(program)
        self.settle()
        for program in self.programs.values():
            if not program.receiving and self.reference.device(program.user, program.name).opened:
                self.receive(program, None)
        self.settle()
        for program in self.programs.values():
            assert not program.unanswered, f"{program.address} got no answer to {sorted(program.unanswered)}"
            assert not program.calls, f"{program.address} got no answer to {program.calls}"
            assert program.missing() == [], f"{program.address} did not get {program.missing()}"
        for line, log in self.reference.logs.items():
            if line == self.reference.line(line.conversation) and (
                not line.life or line.conversation in self.reference.roles
            ):
                stored = [entry.packet for entry in self.log.store.read(line.conversation, 0, 10_000, 1 << 30)]
                assert stored == log[self.reference.first_kept(line) - 1 :], f"{line} holds something else"

    def receive(self, program: Program, start: int | None) -> None:
        """The program asks for messages."""
        program.receiving = True
        self.call(program, "messages.receive", {"start": start})


def _look(user: str, device: str) -> Callable[[Store], tuple[int, list[str], list[str]]]:
    def look(store: Store) -> tuple[int, list[str], list[str]]:
        rooms = [room.name for room, role in store.rooms_of(user) if role is not None and role.inside]
        return store.last_message_id(user, device), rooms, store.blocked_by(user)

    return look
