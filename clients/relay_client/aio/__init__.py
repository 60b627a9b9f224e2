"""The asyncio client: the blocking client's surface with `await` and `async for`."""

from relay_client.aio.client import Client, Message, Posted, Signal, Stream

__all__ = ["Client", "Message", "Posted", "Signal", "Stream"]
