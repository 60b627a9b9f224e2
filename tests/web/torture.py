"""The browser SDK through the worst: its socket is cut again and again, the relay is killed, its own process is killed.

    python -m tests.web.torture --messages 20000 --cuts 200 --kills 5 --reloads 3

A client in Node sends numbered messages to a client in Python, and gets a quarter as many back. Counted is what is
lost, doubled or out of order at either end. `--reloads` kills the Node process; the next one goes on from its storage.
What the killed one had handled, but not yet written its cursor for, comes again under the same offset: that is counted
apart.
"""

import argparse
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from relay_client import Client

from tests.relay_client.town import PASSWORD, Town
from tests.web.node import NodeClient, NodeError

PATIENCE_S = 600.0


class Tally(NamedTuple):
    """What came of `sent` numbered messages."""

    sent: int
    came: int
    lost: int
    doubled: int
    reordered: int

    @property
    def clean(self) -> bool:
        return self.came == self.sent and not (self.lost or self.doubled or self.reordered)


def tally(numbers: Iterable[int], sent: int) -> Tally:
    """Count: 0, 1, ... `sent` - 1 were to come."""
    came = list(numbers)
    distinct = set(came)
    reordered = sum(1 for before, after in pairwise(came) if after < before)
    return Tally(sent, len(came), len(set(range(sent)) - distinct), len(came) - len(distinct), reordered)


class Run:
    """One run, on a relay of its own."""

    def __init__(self, home: Path, messages: int, *, cuts: int, kills: int, reloads: int, seed: int) -> None:
        self.town = Town(home)
        self.town.add("alice", "bob")
        self.messages = messages
        self.random = random.Random(seed)
        self.file = str(home / "device")
        self.log = home / "received"
        self.at_python: list[int] = []
        self.repeated = 0
        troubles = ["cut"] * cuts + ["kill"] * kills + ["reload"] * reloads
        self.random.shuffle(troubles)
        self.plan = [(round((turn + 1) * messages / (len(troubles) + 1)), what) for turn, what in enumerate(troubles)]

    def run(self) -> tuple[Tally, Tally]:
        """What came from Node to Python, and from Python to Node."""
        back = self.messages // 4
        relay = self.town.open()
        relay.__enter__()
        self.relay: Any = relay
        self.node = NodeClient()
        with Client(self.town.url("bob"), "python") as bob:
            bob.receive()
            threading.Thread(target=self._take, args=(bob,), daemon=True).start()
            self._sign_in()
            posted: list[Any] = []
            flood = self._flood(0)
            for threshold, trouble in self.plan:
                self._post(bob, posted, min(threshold // 4 + 100, back))
                self._await(lambda threshold=threshold: len(self.at_python) >= threshold)
                flood = getattr(self, f"_{trouble}")(flood)
            flood.result(PATIENCE_S)
            self._post(bob, posted, back)
            self._await(lambda: len(self.at_python) >= self.messages)
            for one in posted:
                one.wait(PATIENCE_S)
            self._await(lambda: len(self._at_node()) >= back)
            time.sleep(0.5)  # what comes twice would come now
        self.node.kill()
        self.relay.__exit__(None, None, None)
        return tally(self.at_python, self.messages), tally(self._at_node(), back)

    def _post(self, bob: Client, posted: list[Any], until: int) -> None:
        while len(posted) < until:
            posted.append(bob.post("alice", len(posted), timeout=PATIENCE_S))

    def _take(self, bob: Client) -> None:
        for message in bob.messages(timeout=PATIENCE_S):
            self.at_python.append(message.value)  # type: ignore[arg-type]

    def _await(self, done: Any) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not done():
            assert time.monotonic() < deadline, f"nothing moves: {len(self.at_python)} of {self.messages} came"
            time.sleep(0.002)

    def _sign_in(self) -> None:
        url = f"ws://{self.town.address}/ws"
        options = {"user": "alice", "password": PASSWORD, "file": self.file, "log": str(self.log), "patient": True}
        self.node.ask("connect", url=url, **options)

    def _flood(self, start: int) -> Any:
        return self.node.begin("flood", to="bob", until=self.messages, pauseEvery=50, **{"from": start})

    def _at_node(self) -> list[int]:
        """What Node has received, each offset once."""
        lines = (
            [tuple(map(int, line.split())) for line in self.log.read_text().splitlines()] if self.log.exists() else []
        )
        distinct = list(dict.fromkeys(lines))
        self.repeated = len(lines) - len(distinct)
        return [value for _, value in distinct]

    def _cut(self, flood: Any) -> Any:
        """Cut Node's connection, now and then again while it logs in."""
        self.node.ask("cut")
        if self.random.random() < 0.9:
            self.node.ask("hurry")
        return flood

    def _kill(self, flood: Any) -> Any:
        """Kill the relay, and start it again."""
        self.town.process.stop(signal.SIGKILL)  # type: ignore[union-attr]
        self.relay.__exit__(None, None, None)
        time.sleep(self.random.random() * 0.2)
        self.relay = self.town.open()
        self.relay.__enter__()
        self.node.ask("hurry")
        return flood

    def _reload(self, flood: Any) -> Any:
        """Kill the Node process. The next one sends what was kept; what was not is posted again."""
        self.node.kill()
        with suppress(NodeError):
            flood.result(PATIENCE_S)
        self.node = NodeClient()
        self._sign_in()
        self.node.ask("drained")
        return self._flood(self._last_stored() + 1)

    def _last_stored(self) -> int:
        """The last number that Node has brought into the log, -1 if there is none."""
        before = None
        while before != 1:
            where = {} if before is None else {"before": before}
            page = self.node.ask("history", conversation="bob", limit=500, **where)["messages"]
            if mine := [message["value"] for message in page if message["mine"]]:
                return int(mine[-1])
            before = page[0]["offset"] if page else 1
        return -1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=20000)
    parser.add_argument("--cuts", type=int, default=200)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--reloads", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as home:
        troubles = {"cuts": wanted.cuts, "kills": wanted.kills, "reloads": wanted.reloads}
        run = Run(Path(home), wanted.messages, **troubles, seed=wanted.seed)
        there, back = run.run()
    print(f"{wanted.cuts} cuts, {wanted.kills} kills, {wanted.reloads} reloads in {time.monotonic() - begun:.1f} s")
    for way, result in (("Node to Python", there), ("Python to Node", back)):
        print(f"{way}: {result.sent} sent, {result.lost} lost, {result.doubled} doubled, {result.reordered} reordered")
    if wanted.reloads:
        print(f"{run.repeated} came again under the same offset after Node was killed")
    return 0 if there.clean and back.clean else 1


if __name__ == "__main__":
    sys.exit(main())
