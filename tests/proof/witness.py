"""The `relay` command under observation: every chunk that its keeper takes is written down.

    python -m tests.proof.witness LOG NAME serve --listen ...

Each line of LOG is `NAME OFFSET`, written before the chunk is checked and stored. The pauses between reconnects are
short, because here connections break all the time.
"""

import os
import sys
from typing import Any


def main() -> None:
    log, name, *words = sys.argv[1:]
    sys.argv[1:] = words
    from relay import __main__ as entry

    if words[0] == "serve":
        entry._patch()
    _observe(log, name)
    entry.main()


def _observe(log: str, name: str) -> None:
    from relay_client.core import backoff

    from relay.protocol.transfer import Chunk, Intake

    fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    take: Any = Intake.take

    def observed(intake: Intake, chunk: Chunk) -> None:
        os.write(fd, f"{name} {chunk.offset}\n".encode())
        take(intake, chunk)

    Intake.take = observed  # type: ignore[method-assign]
    backoff.LONGEST_S = 0.2


if __name__ == "__main__":
    main()
