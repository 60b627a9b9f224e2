"""Relay for Python programs: `Client` (blocking; threads or gevent), `aio.Client` (asyncio) and `Bot`.

    with Client("relay://alice:secret@127.0.0.1:7450", device="laptop") as me:
        me.send("bob", "hello")

Importing this package starts nothing and patches nothing.
"""

from importlib import import_module
from typing import Any

from relay_client.answers import Conversation, Device, DeviceCursor, Member, Page, Presence, Room
from relay_client.blocking import Client, Message, Posted, Signal, Stream
from relay_client.bot import Bot
from relay_client.errors import (
    BadAddress,
    BadUrl,
    BadValue,
    BotFileError,
    CallFailed,
    CallTimedOut,
    ClientClosed,
    ConnectFailed,
    ConnectionEnded,
    ConnectionLost,
    FileBusy,
    FileChanged,
    FileFailed,
    FileThere,
    LoginFailed,
    MethodError,
    NotConnected,
    Refused,
    RelayError,
    Replaced,
    StreamClosed,
    StreamReset,
    StreamTimedOut,
    TimedOut,
    WrongContent,
)
from relay_client.events import Ended, GapNoticed, Receipt, RoomChanged
from relay_client.fate import Fate, FateState
from relay_client.received import Call, Online, Stored

__all__ = [
    "BadAddress",
    "BadUrl",
    "BadValue",
    "Bot",
    "BotFileError",
    "Call",
    "CallFailed",
    "CallTimedOut",
    "Client",
    "ClientClosed",
    "ConnectFailed",
    "ConnectionEnded",
    "ConnectionLost",
    "Conversation",
    "Device",
    "DeviceCursor",
    "Ended",
    "Fate",
    "FateState",
    "FileBusy",
    "FileChanged",
    "FileFailed",
    "FileThere",
    "GapNoticed",
    "LoginFailed",
    "Member",
    "Message",
    "MethodError",
    "NotConnected",
    "Online",
    "Page",
    "Posted",
    "Presence",
    "Receipt",
    "Refused",
    "RelayError",
    "Replaced",
    "Room",
    "RoomChanged",
    "Signal",
    "Stored",
    "Stream",
    "StreamClosed",
    "StreamReset",
    "StreamTimedOut",
    "TimedOut",
    "WrongContent",
]


def __getattr__(name: str) -> Any:
    """`relay_client.aio` without a further import; asyncio is loaded only then."""
    if name == "aio":
        return import_module("relay_client.aio")
    raise AttributeError(f"module 'relay_client' has no attribute {name!r}")
