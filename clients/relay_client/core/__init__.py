"""The client without its I/O: what it knows and decides, over all the connections of its life.

Nothing in here has sockets, threads or a clock: bytes and the time are passed in, bytes, events and settled requests
come out. The shells (client.py, aio.py) only carry them.
"""

from relay_client.core.core import Core
from relay_client.core.link import Identity, Phase
from relay_client.core.pending import Pending

__all__ = ["Core", "Identity", "Pending", "Phase"]
