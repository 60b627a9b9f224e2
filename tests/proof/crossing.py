"""One file after the other, from Alice to Bob, through a relay and two bridges, all of which break.

Alice, Bob and the relay are processes of their own (tests.proof.witness). What breaks them is done when so many bytes
have passed a bridge: a cut of one end's connection, or a SIGKILL of that end or of the relay. What was killed is
started again with the same command.
"""

import contextlib
import hashlib
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from random import Random
from typing import NamedTuple

from relay_client import Client

from relay.protocol.limits import FILE_CHUNK_BYTES
from tests.process import Running
from tests.relay_client.bridge import Bridge
from tests.relay_client.town import Town

# A login and an opening pass more bytes.
LOGIN_BYTES = 1200

# A transfer that takes longer than this has got stuck.
TRANSFER_MAX_S = 900.0

# Somebody who finds the other end away at the first moment tries again; more often than so is a failure.
ATTEMPTS_MAX = 20

SENDER, RECEIVER = 0, 1
USERS = ("alice", "bob")

_WITNESS = (sys.executable, "-m", "tests.proof.witness")
_ROOT = Path(__file__).parents[2]


class Deed(Enum):
    """What is done to a transfer."""

    CUT = "connections cut"
    KILL_END = "ends killed"
    KILL_RELAY = "relays killed"


class Blow(NamedTuple):
    """A deed, to the sender or the receiver. That one's bytes are counted."""

    deed: Deed
    end: int


@dataclass
class Outcome:
    """What became of one transfer. `twice`: how many chunks a keeper took more than once. `unsure`: the receiver cannot
    know whether the sender knows of the end, and keeps a note of it for a week. `problems`: none, if all is well."""

    name: str
    size: int
    direct: bool
    deeds: Counter[str] = field(default_factory=Counter)
    twice: int = 0
    unsure: bool = False
    took_s: float = 0.0
    allocated: int = 0  # what the received file takes on the disk
    memory: dict[str, int] = field(default_factory=dict)  # the most that each process had resident, in bytes
    problems: list[str] = field(default_factory=list)


class Crossing:
    """A relay and its people under `home`, for one transfer at a time."""

    def __init__(self, home: Path, random: Random) -> None:
        self._random = random
        self._log = home / "chunks.log"
        self._homes = [home / user for user in USERS]
        self._inbox = self._homes[RECEIVER] / "inbox"
        self._inbox.mkdir(parents=True)
        self._homes[SENDER].mkdir()
        self._town = Town(home)
        self._town.add(*USERS)
        self._relay = self._serve()
        self._bridges = [Bridge(self._town.address) for _ in USERS]
        self._processes: dict[int, Running] = {}
        self._memory: dict[str, int] = {}

    def close(self) -> None:
        """End all that was started."""
        self._end_processes()
        self._relay.stop()
        for bridge in self._bridges:
            bridge.__exit__(None, None, None)

    def transfer(self, source: Path, sha256: str, direct: bool, deeds: list[Deed]) -> Outcome:
        """Send a file, and look at what has come of it."""
        outcome = Outcome(source.name, source.stat().st_size, direct)
        self._log.write_bytes(b"")
        began_at = time.monotonic()
        self._memory = outcome.memory
        try:
            if direct:
                self._send_directly(source, outcome, deeds)
            else:
                self._send_by_the_relay(source, outcome, deeds)
        except AssertionError as error:
            outcome.problems.append(f"it did not arrive: {error}"[:600])
        finally:
            self._disarm()
            self._end_processes()
        outcome.took_s = time.monotonic() - began_at
        self._ensure_relay()
        self._look(outcome, sha256)
        return outcome

    # The commands.

    def _send_directly(self, source: Path, outcome: Outcome, deeds: list[Deed]) -> None:
        self._receive()
        with self._blows(outcome, [Blow(deed, self._random.choice((SENDER, RECEIVER))) for deed in deeds]):
            self._run(SENDER, "file", "send", "--direct", "--quiet", str(source), "bob")

    def _send_by_the_relay(self, source: Path, outcome: Outcome, deeds: list[Deed]) -> None:
        first = self._random.randint(0, len(deeds))
        with self._blows(outcome, [Blow(deed, SENDER) for deed in deeds[:first]]):
            id = json.loads(self._run(SENDER, "file", "send", "--json", str(source), "bob"))["id"]
        with self._blows(outcome, [Blow(deed, RECEIVER) for deed in deeds[first:]]):
            self._run(RECEIVER, "file", "get", id, "-o", "inbox/")
        self._ensure_relay()
        self._run(SENDER, "file", "remove", id)

    def _run(self, end: int, *words: str) -> str:
        """A command until it ends well, however often something is killed meanwhile; what it printed."""
        until = time.monotonic() + TRANSFER_MAX_S
        errors: list[str] = []
        for _ in range(ATTEMPTS_MAX):
            self._revive(end)
            process = self._start(end, *words)
            while (code := process.process.poll()) is None:
                self._revive(end)
                self._measure()
                assert time.monotonic() < until, f"{words[:2]} is stuck; {process.seen('')[-3:]}"
                time.sleep(0.01)
            errors = process.rest("stderr")
            if code == 0 or any("exists already" in line for line in errors):  # killed between its work and its end
                return "\n".join(process.rest())
        raise AssertionError(f"{words[:2]} failed {ATTEMPTS_MAX} times: {errors[-3:]}")

    def _start(self, end: int, *words: str) -> Running:
        url = self._town.url(USERS[end]).replace(self._town.address, self._bridges[end].address)
        self._processes[end] = self._witness(USERS[end], self._homes[end], words, {"RELAY_URL": url})
        return self._processes[end]

    def _receive(self) -> None:
        """Begin to receive. If the relay is killed meanwhile the process comes to its end, and begins again later."""
        process = self._start(RECEIVER, "file", "receive", "inbox")
        while process.process.poll() is None and not process.seen("receiving into"):
            self._ensure_relay()
            time.sleep(0.005)

    def _revive(self, end: int) -> None:
        """Start again what was killed, besides the command that is run."""
        self._ensure_relay()
        receiver = self._processes.get(RECEIVER)
        if end is SENDER and receiver is not None and receiver.process.poll() is not None:
            self._receive()

    def _serve(self) -> Running:
        words = ("serve", "--listen", self._town.address, "--data", str(self._town.data), "--drain-spread-s", "0.2")
        relay = self._witness("relay", self._town.home, (*words, "--files-quota-mb", "4096"), {})
        self._town.address = relay.line().removeprefix("listening on ")
        return relay

    def _ensure_relay(self) -> None:
        if self._relay.process.poll() is not None:
            self._relay = self._serve()

    def _witness(self, name: str, home: Path, words: tuple[str, ...], env: dict[str, str]) -> Running:
        env |= {"PYTHONPATH": f"{_ROOT}:{_ROOT / 'clients'}"}
        return Running((str(self._log), name, *words), home, env, _WITNESS)

    def _end_processes(self) -> None:
        self._measure()
        for process in self._processes.values():
            process.stop()
        self._processes.clear()

    def _measure(self) -> None:
        running = {"relay": self._relay} | {USERS[end]: process for end, process in self._processes.items()}
        for name, process in running.items():
            with contextlib.suppress(OSError, IndexError):
                status = Path(f"/proc/{process.process.pid}/status").read_text()
                peak = int(status.partition("VmHWM:")[2].split()[0]) * 1024
                self._memory[name] = max(peak, self._memory.get(name, 0))

    # What breaks.

    @contextmanager
    def _blows(self, outcome: Outcome, blows: list[Blow]) -> Iterator[None]:
        """Each blow falls when so many bytes have passed since the one before."""
        reach = 2 * outcome.size // (len(blows) + 1)
        left = list(blows)

        def arm() -> None:
            if left:
                blow = left.pop()
                bridge = self._bridges[blow.end]
                bridge.on_spent = lambda: strike(blow)
                bridge.cut_after(self._random.randint(0, LOGIN_BYTES) + self._random.randint(0, reach))

        def strike(blow: Blow) -> None:
            outcome.deeds[blow.deed.value] += 1
            if blow.deed is Deed.CUT:
                self._bridges[blow.end].cut()
            else:
                killed = self._relay if blow.deed is Deed.KILL_RELAY else self._processes[blow.end]
                killed.process.kill()
            arm()

        arm()
        yield
        self._disarm()

    def _disarm(self) -> None:
        for bridge in self._bridges:
            bridge.cut_after()

    # What is looked at.

    def _look(self, outcome: Outcome, sha256: str) -> None:
        there = sorted(path.name for path in self._inbox.iterdir())
        if there != [outcome.name]:
            outcome.problems.append(f"the receiver's directory holds {there}")
        for path in self._inbox.iterdir():
            if path.name == outcome.name:
                outcome.allocated = path.stat().st_blocks * 512
                if file_sha256(path) != sha256:
                    outcome.problems.append("the content is another one")
            path.unlink()
        self._look_at_leftovers(outcome)
        self._look_at_chunks(outcome)
        self._look_at_the_announcement(outcome)

    def _look_at_leftovers(self, outcome: Outcome) -> None:
        for path in [path for home in self._homes for path in (home / ".local/state").rglob("*") if path.is_file()]:
            note = path.read_text()
            if path.parent.name == "received" and '"told"' in note and outcome.deeds:
                outcome.unsure = True
            else:
                outcome.problems.append(f"left over in a state directory: {path.parent.name}/{path.name}: {note}")
            path.unlink()
        data = self._town.data
        relays = [path for name in ("blobs", "partial") for path in (data / name).rglob("*") if path.is_file()]
        until = time.monotonic() + 30
        while any(path.exists() for path in relays) and time.monotonic() < until:
            time.sleep(0.05)
        if any(path.exists() for path in relays):
            outcome.problems.append(f"left over at the relay: {[path.name for path in relays if path.exists()]}")

    def _look_at_chunks(self, outcome: Outcome) -> None:
        taken = Counter(self._log.read_text().splitlines())
        outcome.twice = sum(taken.values()) - len(taken)
        blows = sum(outcome.deeds.values())
        if outcome.twice > blows:
            outcome.problems.append(f"{outcome.twice} chunks were taken twice, with {blows} blows")
        keepers = 1 if outcome.direct else 2
        wanted = keepers * -(-outcome.size // FILE_CHUNK_BYTES)
        if len(taken) != wanted:
            outcome.problems.append(f"{len(taken)} chunks were taken, and {wanted} make the file")

    def _look_at_the_announcement(self, outcome: Outcome) -> None:
        with Client(self._town.url("bob")) as bob:
            count = sum(m.file is not None and m.file.name == outcome.name for m in bob.history("alice", limit=20))
        if count != 1:
            outcome.problems.append(f"it was announced {count} times")


def file_sha256(path: Path) -> str:
    """Read once more, besides all that the transfers have hashed."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
