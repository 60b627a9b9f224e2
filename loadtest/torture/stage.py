"""Where it happens: everybody comes, then the relay is killed and connections are cut while all go on sending; at the
end nobody sends any more, all come back, and everything has to arrive.
"""

import random
import socket
import time
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from loadtest.accounts import add_accounts
from loadtest.crowd.login import PASSWORD
from loadtest.torture import sdk
from loadtest.torture.books import Books
from loadtest.torture.device import Device
from loadtest.torture.findings import Findings
from loadtest.torture.guest import Guest
from loadtest.torture.link import Cut, Ending, last_words
from loadtest.torture.loop import Loop
from loadtest.torture.plan import Plan
from loadtest.torture.process import RelayProcess
from relay.protocol.codes import CloseCode

_TICK_S = 0.1
_SOURCE = "127.0.0.1"

_QUIET_S = 1.0

# The end may take so many times the patience.
_SETTLE_PATIENCES = 5

# Kills come this long after the relay began to listen; now and then already while it starts.
_KILL_AFTER_S = (0.1, 1.7)
_KILL_STARTING = 0.1
_KILL_STARTING_S = 0.5

# Cut within so many bytes. Small numbers, which end within the login, are as likely as large ones.
_CUT_MAX_BYTES = 40_000
_KEPT_OPEN_S = 2.0


class Goals(NamedTuple):
    """The storm ends when all of these are reached."""

    kills: int
    cuts: int
    messages: int


class Setting(NamedTuple):
    """Where it happens: the directory for database and log, and the command that runs the relay. With no progress for
    `patience_s` something hangs, and what is missing then is lost.
    """

    directory: Path
    command: tuple[str, ...]
    patience_s: float


class Act(Enum):
    """What goes on."""

    COMING = "everybody comes"
    JOINING = "rooms are made"
    STORM = "storm"
    SETTLING = "settling"
    OVER = "over"


class Stage:
    """One run. `play` returns when it is over; everything it found is in `books` then."""

    def __init__(
        self, plan: Plan, seed: int, goals: Goals, setting: Setting, report: Callable[["Stage"], None]
    ) -> None:
        """`report` is called now and then, for whoever watches."""
        self.plan = plan
        self.goals = goals
        self.findings = Findings()
        self.books = Books(plan.conversations(), [member.address for member in plan.members], self.findings)
        self.dice = random.Random(f"stage {seed}")
        self.loop = Loop()
        self.process = RelayProcess(
            self.loop, setting.command, setting.directory, self._handle_listening, self._handle_ended
        )
        self.programs = sdk.Programs(self.process.port)
        self.act = Act.COMING
        self.kills = 0
        self.cuts = 0
        self.cuts_left_open = 0
        self.replacements_told = 0
        self.storm_s = 0.0
        self.up_s = 0.0
        self._report = report
        self._patience_s = setting.patience_s
        self._settle_until = 0.0
        self._listening_since = 0.0
        self._storm_since = 0.0
        self._progress: tuple[int, ...] = ()
        self._progress_at = time.monotonic()
        self._joining = 0
        self.devices = [Guest(member, self) if member.habit.roams else Device(member, self) for member in plan.members]

    @property
    def address(self) -> tuple[str, int]:
        return _SOURCE, self.process.port

    @property
    def listening(self) -> bool:
        return self.process.listening

    @property
    def sending(self) -> bool:
        return self.act is Act.STORM

    @property
    def settling(self) -> bool:
        return self.act is Act.SETTLING

    def play(self) -> None:
        """From the first start of the relay to its end. What does not come by itself in time is lost."""
        add_accounts(self.process.data, [*self.plan.users, *sdk.USERS], PASSWORD)
        try:
            self.process.start()
            self._tick()
            self.loop.run()
            self.programs.close()
            for device in self.devices:
                device.leave()
            if self.process.pid is not None:
                code = self.process.stop()
                if code:
                    self.findings.add("failed", "", f"the relay ended with code {code} when told to stop")
        finally:
            self.process.kill()
            self.loop.close()
        for line in self.process.complaints():
            self.findings.add("failed", "", f"the relay's log: {line}")

    # For devices.

    def plan_cut(self) -> Cut | None:
        """How the next connection ends, if it is to be cut."""
        if self.act is not Act.STORM or self.cuts >= self.goals.cuts:
            return None
        ending = Ending.LEAVE if self.dice.random() < 0.5 else self.dice.choice((Ending.CLOSE, Ending.RESET))
        after_bytes = int(_CUT_MAX_BYTES ** self.dice.random())
        return Cut(after_bytes, self.dice.random() < 0.5, ending)

    def keep_open(self, sock: socket.socket | None, partial: bytes, owner: str) -> None:
        """Leave an old connection open for a while; then see whether its session was told that it was replaced."""
        if sock is None:
            return
        self.cuts_left_open += 1
        lives = self.process.starts, self.kills

        def close() -> None:
            told = last_words(sock, partial)
            sock.close()
            if told == CloseCode.REPLACED:
                self.replacements_told += 1
            elif told is not None and owner and (self.process.starts, self.kills) == lives:
                self.findings.add("failed", "", f"{owner} was replaced, and told {told} instead")

        self.loop.later(self.dice.uniform(0, _KEPT_OPEN_S), close)

    def note_cut(self) -> None:
        """A connection was cut as planned."""
        self.cuts += 1

    # The relay's life.

    def _handle_listening(self) -> None:
        self._listening_since = time.monotonic()
        for device in self.devices:
            device.wake()
        if self.act is Act.STORM and self.kills < self.goals.kills:
            self._kill_in(self.dice.uniform(*_KILL_AFTER_S))

    def _handle_ended(self, code: int) -> None:
        self.findings.add("failed", "", f"the relay ended by itself with code {code}")
        self._note_down()
        self.loop.later(0.1, self._restart)

    def _kill_in(self, delay_s: float) -> None:
        starts = self.process.starts
        self.loop.later(delay_s, lambda: self._kill(starts))

    def _kill(self, starts: int) -> None:
        if self.act is not Act.STORM or self.process.starts != starts or self.process.pid is None:
            return
        self._note_down()
        self.process.kill()
        self.kills += 1
        self.loop.later(self.dice.uniform(0, 0.05), self._restart)

    def _restart(self) -> None:
        self.process.start()
        more = self.act is Act.STORM and self.kills < self.goals.kills
        if more and self.dice.random() < _KILL_STARTING:
            self._kill_in(self.dice.uniform(0, _KILL_STARTING_S))

    def _note_down(self) -> None:
        if self._listening_since:
            self.up_s += time.monotonic() - self._listening_since
            self._listening_since = 0.0

    # The acts.

    def _tick(self) -> None:
        if self.act is Act.COMING and all(device.ready for device in self.devices):
            self._make_rooms()
        elif self.act is Act.JOINING and not self._joining:
            self._begin_storm()
        elif self.act is Act.STORM and self._goals_reached():
            self._begin_settling()
        elif self.act is Act.SETTLING and self._is_settled():
            self._end()
        if self._hangs():
            self.findings.add("failed", "", f"no progress for {self._patience_s:.0f} s while {self.act.value}")
            self._end()
        elif self.act is Act.SETTLING and time.monotonic() > self._settle_until:
            self.findings.add("failed", "", "something comes again and again, and what is missing does not")
            self._end()
        self._report(self)
        self.loop.later(_TICK_S, self._tick)

    def _make_rooms(self) -> None:
        self.act = Act.JOINING
        one_of = {device.member.user: device for device in self.devices}
        for room, (owner, *others) in self.plan.rooms.items():
            self._joining += 1 + len(others)

            def created(answer: object, room: str = room, others: list[str] = others) -> None:
                self._joined(answer)
                for user in others:
                    one_of[user].call("rooms.join", {"room": room}, self._joined)

            one_of[owner].call("rooms.create", {"room": room, "title": f"what happens in {room}"}, created)

    def _joined(self, answer: object) -> None:
        self._joining -= 1

    def _begin_storm(self) -> None:
        self.programs.start()
        self.act = Act.STORM
        self._storm_since = self._listening_since = time.monotonic()
        for device in self.devices:
            device.wake()
        if self.goals.cuts:
            for device in self.devices:
                device.leave()
                device.come_soon()
        if self.goals.kills:
            self._kill_in(self.dice.uniform(*_KILL_AFTER_S))

    def _goals_reached(self) -> bool:
        kills, cuts, messages = self.goals
        return self.kills >= kills and self.cuts >= cuts and self.books.acknowledged >= messages

    def _begin_settling(self) -> None:
        self.act = Act.SETTLING
        self.storm_s = time.monotonic() - self._storm_since
        self._settle_until = time.monotonic() + _SETTLE_PATIENCES * self._patience_s
        self._note_down()
        self.programs.finish()
        for device in self.devices:
            device.wake()

    def _is_settled(self) -> bool:
        """Whether everything has come that we know of, and nothing else came for a while: what a sender died over
        may be stored without anybody knowing of it.
        """
        if time.monotonic() - self._progress_at < _QUIET_S:
            return False
        return self.programs.done and all(device.settled for device in self.devices)

    def _end(self) -> None:
        self.act = Act.OVER
        self.loop.stop()

    def _hangs(self) -> bool:
        progress = (
            self.books.acknowledged,
            self.books.delivered,
            self.programs.acknowledged,
            sum(device.ready for device in self.devices) if self.act is Act.COMING else 0,
            self._joining,
        )
        if progress != self._progress:
            self._progress, self._progress_at = progress, time.monotonic()
        return time.monotonic() - self._progress_at > self._patience_s
