"""Node and the modules of clients/web, or the reason why these tests are skipped."""

import json
import shutil
import subprocess
import threading
import time
from collections import deque
from concurrent.futures import Future
from itertools import count
from pathlib import Path
from typing import Any, Self

import pytest

WEB = Path(__file__).parents[2] / "clients/web"
DRIVER = Path(__file__).parent / "driver.mjs"
DEADLINE_S = 120.0


def missing() -> str:
    """What is missing to run the browser's modules in Node; empty if nothing is."""
    if shutil.which("node") is None:
        return "there is no node"
    if not (WEB / "node_modules/ws").exists():
        return "clients/web/node_modules is missing: make web-modules"
    return ""


needs_node = pytest.mark.skipif(bool(missing()), reason=missing())


def run_node(*words: str) -> subprocess.CompletedProcess[str]:
    """Run node in clients/web to its end. Never raises for an exit code."""
    return subprocess.run(
        ("node", *words), cwd=WEB, capture_output=True, text=True, timeout=DEADLINE_S, check=False, encoding="utf-8"
    )


class NodeError(Exception):
    """What a client in Node was asked for failed there."""

    def __init__(self, code: int, reason: str, sentence: str) -> None:
        super().__init__(f"{code} {reason}: {sentence}")
        self.code = code
        self.reason = reason


class NodeClient:
    """A client of the browser SDK in a Node process (`driver.mjs`). Its operations may run at the same time."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            ("node", str(DRIVER)), cwd=WEB, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )
        self._answers: dict[int, Future[Any]] = {}
        self._ids = count(1)
        self._lock = threading.Lock()
        self._events: deque[Any] = deque()
        threading.Thread(target=self._pump, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.kill()

    def _pump(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            answer = json.loads(line)
            future = self._answers.pop(answer["id"])
            if error := answer.get("error"):
                future.set_exception(NodeError(error["code"], error["reason"], error["sentence"]))
            else:
                future.set_result(answer["result"])
        for future in self._answers.values():
            future.set_exception(NodeError(0, "GONE", "the Node process ended"))

    def begin(self, op: str, **arguments: Any) -> "Future[Any]":
        """Start an operation."""
        future: Future[Any] = Future()
        with self._lock:
            id = next(self._ids)
            self._answers[id] = future
            assert self.process.stdin
            self.process.stdin.write(json.dumps({"id": id, "op": op, **arguments}) + "\n")
            self.process.stdin.flush()
        return future

    def ask(self, op: str, **arguments: Any) -> Any:
        """Run an operation to its end. Raises NodeError."""
        return self.begin(op, **arguments).result(DEADLINE_S)

    def await_received(self, total: int) -> list[Any]:
        """The messages that came, as soon as there are so many."""
        deadline = time.monotonic() + DEADLINE_S
        while len(found := self.ask("received", **{"from": 0})) < total:
            assert time.monotonic() < deadline, f"{len(found)} of {total} messages came"
            time.sleep(0.02)
        return list(found)

    def await_event(self, type: str, **fields: Any) -> Any:
        """The first event with these fields; what came before it is passed over."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            self._events.extend(self.ask("events"))
            while self._events:
                event = self._events.popleft()
                if event["type"] == type and all(event[name] == value for name, value in fields.items()):
                    return event
            assert time.monotonic() < deadline, f"no event {type} {fields}"
            time.sleep(0.02)

    def kill(self) -> None:
        """End the process without a goodbye."""
        self.process.kill()
        self.process.wait(DEADLINE_S)


def pattern(size: int, seed: int) -> bytes:
    """Bytes that say where they stand, the same as in driver.mjs."""
    rows = [bytes((at * 31 + shift) & 255 for at in range(256)) for shift in range(256)]
    return b"".join(rows[(row * 7 + (row >> 8) + seed) & 255] for row in range((size + 255) // 256))[:size]
