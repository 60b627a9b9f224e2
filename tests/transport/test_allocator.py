"""The setting is asked of the C library in a process of its own: it holds for the whole process."""

import platform
import subprocess
import sys

import pytest

# Reads as a connection does, and counts the page faults that this costs.
_PROGRAM = """
import resource, socket, sys
from relay.transport.allocator import keep_freed_memory

assert sys.argv[1] == "default" or keep_freed_memory()
ours, theirs = socket.socketpair()
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for turn in range(600):
    if turn == 100:
        before = faults()
    theirs.send(b"x" * 65536)
    data = ours.recv(256 * 1024)
print(faults() - before)
"""


def page_faults(setting: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, setting], capture_output=True, text=True, check=True, timeout=60
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library keeps memory in its own way")
def test_reading_large_blocks_again_and_again_costs_no_page_faults() -> None:
    assert page_faults("kept") < page_faults("default") / 10
