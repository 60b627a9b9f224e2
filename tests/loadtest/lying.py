"""A relay that breaks its promises in one chosen way, to show that the torture finds it out.

    python -m tests.loadtest.lying LIE serve ...

Everything but the lie is the real relay. Lies about delivery are told now and then, at the last moment, where bytes
for a session are queued. The relay's modules are imported where they are needed: it patches the process first.
"""

import sys
from collections.abc import Callable
from random import Random

from relay.__main__ import _patch, main

_ONE_IN = 400
_DELIVERY = 19
_dice = Random(1)


def early() -> None:
    """Says that a message is stored before it is."""
    from relay.store.sqlite.database import Database

    honest = Database.commit

    def commit(self: Database) -> None:
        if _dice.random() < 0.003:
            honest(self)

    Database.commit = commit  # type: ignore[method-assign]


def forgetful() -> None:
    """Does not remember which messages it has stored."""
    from relay.store.sqlite.log import Log

    Log._answer_again = lambda self, *arguments: None  # type: ignore[method-assign]


def careless() -> None:
    """Does not note how far receivers are, and says it did."""
    from relay.store.sqlite.devices import Devices

    Devices.advance = lambda self, cursors: None  # type: ignore[method-assign]


def lossy() -> None:
    """Leaves deliveries out."""
    _tamper(lambda frames, at: frames[:at] + frames[at + 1 :])


def stuttering() -> None:
    """Delivers twice."""
    _tamper(lambda frames, at: [*frames[: at + 1], *frames[at:]])


def altering() -> None:
    """Changes a byte of a body."""
    _tamper(lambda frames, at: [*frames[:at], frames[at][:-1] + bytes((frames[at][-1] ^ 1,)), *frames[at + 1 :]])


def talkative() -> None:
    """Sends what is no packet."""
    _tamper(lambda frames, at: [*frames[:at], b"\0\0\0\1\xc0", *frames[at:]])


def clinging() -> None:
    """Goes on delivering to those who have left a room."""
    from relay.router.rooms import LiveRooms

    LiveRooms.leave = lambda self, room, user: None  # type: ignore[method-assign]


LIES = {lie.__name__: lie for lie in (early, forgetful, careless, lossy, stuttering, altering, talkative, clinging)}


def _tamper(change: Callable[[list[bytes], int], list[bytes]]) -> None:
    """Change the frames for a session when a DELIVERY is among them; `change` gets its place."""
    from relay.session.outbox import Outbox

    honest = Outbox.push

    def push(self: Outbox, data: bytes) -> None:
        frames = _frames(data)
        at = _dice.randrange(_ONE_IN)
        if at < len(frames) and frames[at][5] == _DELIVERY:
            frames = change(frames, at)
        honest(self, b"".join(frames))

    Outbox.push = push  # type: ignore[assignment, method-assign]


def _frames(data: bytes) -> list[bytes]:
    frames = []
    while data:
        size = 4 + int.from_bytes(data[:4], "big")
        frames.append(data[:size])
        data = data[size:]
    return frames


if __name__ == "__main__":
    _patch()
    LIES[sys.argv.pop(1)]()
    main()
