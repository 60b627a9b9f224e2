"""The blocking client, for plain threads and, in a patched process, for gevent."""

from relay_client.blocking.client import Client, Message, Posted, Signal, Stream

__all__ = ["Client", "Message", "Posted", "Signal", "Stream"]
