"""What a scenario is: who does how much of what, what is done to the relay, and what decides whether it went well."""

from dataclasses import dataclass, field
from enum import Enum


class Harm(Enum):
    """What is done to the relay while it works."""

    RESTART = "SIGTERM, and start again when it has drained"
    KILL = "SIGKILL, and start again"


@dataclass(frozen=True)
class Disturbance:
    """Something done to the relay after a share (0 to 1) of the traffic's time."""

    at_share: float
    harm: Harm


@dataclass(frozen=True)
class Mix:
    """How often a user does what, relative to each other."""

    message: float = 6
    signal: float = 3
    call: float = 1


@dataclass(frozen=True)
class Scenario:
    """Everything that the users, the conductor and the verdict need to know. See the files beside this one.

    `pace_hz`: doings of one user per second, on a schedule that never waits for the relay. `logins_hz`: how fast users
    come at the beginning; None means all at the same moment. `limits_ms`: for a kind of time, what 99 of 100 must not
    exceed. `allowed`: counts of `tally.FAULTS` that the scenario provokes.
    """

    name: str
    summary: str
    pace_hz: float = 1.0
    mix: Mix = field(default_factory=Mix)
    body_bytes: int = 128
    contacts: int = 4
    echo_share: float = 0.1
    logins_hz: float | None = 500.0
    # So many users read only `slow_bytes` every half second while the traffic lasts, and are sent larger bodies.
    slow_users: int = 0
    slow_bytes: int = 16 * 1024
    slow_body_bytes: int = 128 * 1024
    # Users who leave and come back; half of them without a word.
    churn_share: float = 0.0
    churn_online_s: float = 8.0
    churn_away_s: float = 2.0
    # Everybody is in one room with so many members, of whom so many speak, to the room only. 0: no rooms.
    room_members: int = 0
    room_speakers: int = 10
    # This share of the users comes by WebSocket, as browsers do.
    web_share: float = 0.0
    relay_flags: tuple[str, ...] = ()
    disturbances: tuple[Disturbance, ...] = ()
    limits_ms: dict[str, float] = field(default_factory=dict)
    allowed: frozenset[str] = frozenset()
    # How long users may take to get in at the beginning, and what is under way to arrive at the end.
    arrive_s: float = 60.0
    drain_s: float = 30.0
