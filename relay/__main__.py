"""Entry point of the `relay` command, and the one place that monkey-patches.

Only `relay serve` runs on gevent. It is patched here, before anything else is imported, because a late patch leaves
unpatched names behind in modules that were imported earlier. Every other command is plain blocking Python.
"""

import os
import sys


def main() -> None:
    """Run the command in sys.argv and exit with its code (docs/cli.md lists the codes)."""
    if sys.argv[1:2] == ["serve"]:
        _patch()
    from relay.cli import root  # noqa: PLC0415 - after patching

    root.main(prog_name="relay")


def _patch() -> None:
    # With the tree on, chains of spawn_later keep every ancestor alive (gevent issue 1467).
    os.environ["GEVENT_TRACK_GREENLET_TREE"] = "0"
    from gevent import monkey  # noqa: PLC0415 - only here

    monkey.patch_all()


if __name__ == "__main__":
    main()
