"""The whole model against the reference: users, devices, rooms, sends, cuts, restarts, blocks, history, cursors.

Hypothesis takes the steps, in any order: programs come, are cut off at any byte and come again, send, acknowledge and
read now and then; the store's thread, its readers and the event loop each take a step when they are told to; the relay
dies in the middle. MODEL_EXAMPLES=2000 in the environment makes it a proof instead of a test.
"""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from relay.store.base import Store
from relay.store.memory import MemoryStore
from relay.store.sqlite import SqliteStore
from tests.proof.program import Program
from tests.proof.world import DEVICES, RETENTION, USERS, World

EXAMPLES = int(os.environ.get("MODEL_EXAMPLES", "40"))
LENGTH = 100

ROOMS = ("#hall", "#nook")

STEPS = ("commit", "answer", "read_one", "answer_page", "turn")

programs = st.sampled_from([(user, device) for user in USERS for device in DEVICES])
users = st.sampled_from(USERS)
rooms = st.sampled_from(ROOMS)
targets = st.sampled_from([*USERS, *ROOMS, *ROOMS, "nobody"])


class Model(RuleBasedStateMachine):
    """Every rule is one thing that may happen at any time; those that cannot happen now do nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.store = self.open()
        self.world = World(self.store)
        self.world.begin()

    def open(self) -> Store:
        raise NotImplementedError

    def reopen(self) -> Store:
        """What a new process finds."""
        raise NotImplementedError

    def program(self, key: tuple[str, str]) -> Program | None:
        """The program, if it is logged in as far as it knows; otherwise it comes, for the next time."""
        program = self.world.programs[key]
        if program.pipe is None:
            self.world.connect(program)
        return program if program.welcomed else None

    # Programs come and go.

    @rule(key=programs)
    def connect(self, key: tuple[str, str]) -> None:
        self.world.connect(self.world.programs[key])

    @rule(key=programs, start=st.sampled_from([None, None, 0, 2]))
    def receive(self, key: tuple[str, str], start: int | None) -> None:
        if (program := self.program(key)) and not program.receiving:
            self.world.receive(program, start)

    @rule(key=programs)
    def break_off(self, key: tuple[str, str]) -> None:
        self.world.leave(self.world.programs[key])

    @rule(key=programs)
    def go_silent(self, key: tuple[str, str]) -> None:
        """The program is gone, and the relay does not know."""
        self.world.programs[key].lose()

    @rule(key=programs, to=targets, share=st.floats(0, 1))
    def send_and_be_cut(self, key: tuple[str, str], to: str, share: float) -> None:
        if program := self.program(key):
            frames = b"".join(program.message(to, 10) for _ in range(3))
            self.world.feed(program, frames[: int(share * len(frames))])
            self.world.leave(program)

    # They talk.

    @rule(key=programs, to=targets, count=st.integers(1, 4), size=st.sampled_from([0, 60, 500]))
    def send(self, key: tuple[str, str], to: str, count: int, size: int) -> None:
        if program := self.program(key):
            self.world.feed(program, b"".join(program.message(to, size) for _ in range(count)))

    @rule(key=programs, forge=st.booleans(), data=st.data())
    def send_again(self, key: tuple[str, str], forge: bool, data: st.DataObject) -> None:
        program = self.program(key)
        if program and program.answered:
            message_id = data.draw(st.sampled_from(sorted(program.answered)))
            self.world.feed(program, program.forged(message_id) if forge else program.again(message_id))

    @rule(key=programs, size=st.sampled_from([1, 50, 200, 1000, 1 << 20]))
    def read(self, key: tuple[str, str], size: int) -> None:
        self.world.programs[key].read(size)

    @rule(key=programs)
    def acknowledge(self, key: tuple[str, str]) -> None:
        if program := self.program(key):
            self.world.acknowledge(program)

    # They call the relay.

    @rule(key=programs, room=rooms, public=st.booleans())
    def create(self, key: tuple[str, str], room: str, public: bool) -> None:
        if program := self.program(key):
            arguments = {"room": room, "public": public}
            reference = self.world.reference
            self.world.call(program, "rooms.create", arguments, lambda: reference.create(program.user, room, public))

    @rule(key=programs, room=rooms, leave=st.booleans())
    def join_or_leave(self, key: tuple[str, str], room: str, leave: bool) -> None:
        if program := self.program(key):
            reference, user = self.world.reference, program.user
            if leave:
                self.world.call(program, "rooms.leave", {"room": room}, lambda: reference.leave(user, room))
            else:
                self.world.call(program, "rooms.join", {"room": room}, lambda: reference.join(user, room))

    @rule(key=programs)
    def wander(self, key: tuple[str, str]) -> None:
        """Into the hall and out of it."""
        self.join_or_leave(key, "#hall", self.world.reference.inside(key[0], "#hall"))

    @rule(key=programs, room=rooms, other=users, how=st.sampled_from(["invite", "remove", "ban"]))
    def decide_over(self, key: tuple[str, str], room: str, other: str, how: str) -> None:
        if program := self.program(key):
            reference, user = self.world.reference, program.user

            def expect() -> Any:
                if how == "invite":
                    return reference.invite(user, room, other)
                return reference.remove(user, room, other, how == "ban")

            self.world.call(program, f"rooms.{how}", {"room": room, "user": other}, expect)

    @rule(key=programs, other=users, wanted=st.booleans())
    def block(self, key: tuple[str, str], other: str, wanted: bool) -> None:
        if program := self.program(key):
            reference, user = self.world.reference, program.user
            method = "blocks.add" if wanted else "blocks.remove"
            self.world.call(program, method, {"user": other}, lambda: reference.block(user, other, wanted))

    @rule(
        key=programs, of=st.sampled_from([*USERS, *ROOMS]), after=st.none() | st.integers(0, 5), limit=st.integers(1, 9)
    )
    def look_back(self, key: tuple[str, str], of: str, after: int | None, limit: int) -> None:
        if program := self.program(key):
            self.world.history(program, of, after, limit)

    @rule(key=programs, other=programs)
    def forget(self, key: tuple[str, str], other: tuple[str, str]) -> None:
        program, forgotten = self.program(key), self.world.programs[key[0], other[1]]
        if program and program is not forgotten:
            self.world.forget(program, forgotten)

    # The relay's own steps.

    @rule(steps=st.lists(st.sampled_from(STEPS), min_size=1, max_size=10))
    def go_on(self, steps: list[str]) -> None:
        for step in steps:
            self.world.step(step)

    @rule(size=st.sampled_from([20, 100, 1000]))
    def everybody_reads(self, size: int) -> None:
        for program in self.world.programs.values():
            program.read(size)

    @rule()
    def housekeep(self) -> None:
        self.world.housekeep()

    @rule(idle=st.booleans())
    def maintain(self, idle: bool) -> None:
        self.world.maintain(idle)

    @rule(wholly=st.booleans())
    def sweep(self, wholly: bool) -> None:
        self.world.sweep(wholly)

    @rule(key=programs, absent=programs, to=st.sampled_from([*USERS, "#hall"]))
    def miss(self, key: tuple[str, str], absent: tuple[str, str], to: str) -> None:
        """Somebody is away, or does not read, while a conversation loses its beginning."""
        if program := self.program(key):
            self.world.leave(self.world.programs[absent])
            self.world.feed(program, b"".join(program.message(to, 60) for _ in range(4)))
            self.world.step("commit")
            self.world.sweep(True)

    @rule()
    def settle(self) -> None:
        self.world.settle()

    @rule(sure=st.integers(0, 3))
    def restart(self, sure: int) -> None:
        if not sure:
            self.store = self.reopen()
            self.world.restart(self.store)

    def teardown(self) -> None:
        try:
            self.world.finish()
        finally:
            self.close()

    def close(self) -> None:
        self.store.close()


class InMemory(Model):
    """Over the store without a disk, which outlives the relay here."""

    def open(self) -> Store:
        return MemoryStore(RETENTION)

    def reopen(self) -> Store:
        return self.store


class OnDisk(Model):
    """Over SQLite."""

    def open(self) -> Store:
        self.directory = Path(tempfile.mkdtemp(prefix="relay-model-"))
        return SqliteStore(self.directory, retention=RETENTION)

    def reopen(self) -> Store:
        self.store.close()
        return SqliteStore(self.directory, retention=RETENTION)

    def close(self) -> None:
        super().close()
        shutil.rmtree(self.directory)


PROFILE = settings(max_examples=EXAMPLES, stateful_step_count=LENGTH, deadline=None)

TestInMemory = InMemory.TestCase
TestInMemory.settings = PROFILE
TestOnDisk = OnDisk.TestCase
TestOnDisk.settings = PROFILE
