"""The command: `python -m loadtest.torture`."""

import argparse
import json
import logging
import os
import platform
import resource
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loadtest.torture.findings import CLASSES
from loadtest.torture.guest import Guest
from loadtest.torture.plan import RECEIVERS, ROOMS, SENDERS, make_plan
from loadtest.torture.stage import Act, Goals, Setting, Stage
from loadtest.torture.verdict import audit, settle

_EXAMPLES = """
examples:
  python -m loadtest.torture --kills 20 --seed 7                   kill the relay twenty times
  python -m loadtest.torture --kills 500 --messages 1000000        the whole proof, a quarter of an hour
  python -m loadtest.torture --cuts 10000                          cut connections instead
  python -m loadtest.torture --kills 100 --cuts 2000               both at once

The last line on stdout is one JSON object; the exit code is 0 only if nothing was lost, duplicated, reordered,
unexpected or corrupted, and nothing failed. The seed decides who takes part and when the blows fall; the rest is up to
the machine, so that the same seed gives a similar run, not the same one.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0, 1 if anything was wrong, 2 for a wrong argument."""
    options = _parser().parse_args(arguments)
    _raise_descriptor_limit()
    sys.setswitchinterval(0.0005)  # the SDK's threads must not wait long for the loop's
    logging.getLogger("relay_client").setLevel(logging.ERROR)
    plan = make_plan(options.seed, options.senders, options.receivers, options.rooms)
    directory = Path(tempfile.mkdtemp(prefix="relay-torture-", dir=options.directory))
    began_at = time.monotonic()
    goals = Goals(options.kills, options.cuts, options.messages)
    setting = Setting(directory, tuple(shlex.split(options.relay)), options.patience)
    stage = Stage(plan, options.seed, goals, setting, Watch().report)
    stage.play()
    in_log = audit(stage.books, stage.process.data)
    settle(stage.books, stage.devices)
    stage.programs.judge(stage.findings)
    result = _result(options.seed, stage, in_log, time.monotonic() - began_at)
    for example in stage.findings.examples:
        print(example, file=sys.stderr)
    if stage.findings.clean and not options.keep:
        shutil.rmtree(directory)
    else:
        print(f"the database and the relay's log are in {directory}", file=sys.stderr)
    print(json.dumps(result), flush=True)
    return 0 if stage.findings.clean else 1


class Watch:
    """One line for whoever watches: rewritten on a terminal, every ten seconds elsewhere."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._due_at = 0.0
        self._began_at = time.monotonic()

    def report(self, stage: Stage) -> None:
        """Say how far it is."""
        now = time.monotonic()
        if now < self._due_at and stage.act is not Act.OVER:
            return
        self._due_at = now + (0.2 if self._live else 10.0)
        line = (
            f"{now - self._began_at:6.1f} s  {stage.act.value}: {stage.kills} kills, {stage.cuts} cuts, "
            f"{stage.books.acknowledged:,} acknowledged, {stage.books.delivered:,} delivered, "
            f"{sum(stage.findings.counts.values())} wrong"
        )
        end = "\n" if stage.act is Act.OVER or not self._live else ""
        print(f"\r{line}\x1b[K" if self._live else line, end=end, file=sys.stderr, flush=True)


def _result(seed: int, stage: Stage, in_log: int, seconds: float) -> dict[str, Any]:
    books = stage.books
    wrong = {name: dict(counts) for name, counts in stage.findings.by_conversation.items()}
    return {
        "seed": seed,
        "kills": stage.kills,
        "cuts": stage.cuts,
        "cuts_left_open": stage.cuts_left_open,
        "replacements_told": stage.replacements_told,
        "acknowledged": books.acknowledged,
        "in_log": in_log,
        "delivered": books.delivered,
        "delivered_again": sum(device.received.again for device in stage.devices),
        "sdk_acknowledged": stage.programs.acknowledged,
        "devices": len(stage.devices),
        "rooms": len(stage.plan.rooms),
        "room_moves": sum(device.moves for device in stage.devices if isinstance(device, Guest)),
        "conversations": len(books.conversations),
        **{kind: stage.findings.counts[kind] for kind in CLASSES},
        **({"wrong": wrong} if wrong else {}),
        "seconds": round(seconds, 1),
        "up_s": round(stage.up_s, 1),
        "acknowledged_per_up_s": round(books.acknowledged / max(stage.up_s, 0.001)),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.torture",
        description="Kill the relay and cut its connections under load, and prove that nothing is lost.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kills", type=_count, default=0, help="kill the relay so often (default: %(default)s)")
    parser.add_argument("--cuts", type=_count, default=0, help="cut so many connections (default: %(default)s)")
    parser.add_argument(
        "--messages", type=_count, default=10_000, help="go on to so many acknowledgements (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1, help="default: %(default)s")
    parser.add_argument("--senders", type=_count, default=SENDERS, help="users who send (default: %(default)s)")
    parser.add_argument("--receivers", type=_count, default=RECEIVERS, help="users who listen (default: %(default)s)")
    parser.add_argument("--rooms", type=_count, default=ROOMS, help="rooms (default: %(default)s)")
    parser.add_argument(
        "--relay",
        default=shlex.join((sys.executable, "-m", "relay")),
        metavar="COMMAND",
        help="what to torture; `serve` and its flags are put behind it (default: %(default)s)",
    )
    parser.add_argument(
        "--patience",
        type=float,
        default=45.0,
        metavar="SECONDS",
        help="give up after so long without any progress (default: %(default)s)",
    )
    parser.add_argument("--directory", help="where to put the database; default: the system's temporary directory")
    parser.add_argument("--keep", action="store_true", help="keep the database and the relay's log")
    return parser


def _count(text: str) -> int:
    value = int(text.replace("_", ""))
    if value < 0:
        raise argparse.ArgumentTypeError("a number from 0 up")
    return value


def _raise_descriptor_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    sys.exit(main())
