"""Opening streams with the blocking client when there is nobody. With a relay: tests/relay_client/test_streams."""

import pytest
from relay_client import Client, errors

from tests.relay_client.peer import Peer


def test_a_stream_waits_for_a_connection_only_so_long() -> None:
    with Peer() as peer:
        url = peer.url("alice")
    with Client(url, patience_s=None, wait=False) as me:
        with pytest.raises(errors.NotConnected, match="a stream needs one"):
            me.streams.open("bob", "echo", timeout=0.05)
        for timeout in (0, 61):
            with pytest.raises(errors.BadValue, match="at most 60 s"):
                me.streams.open("bob", "echo", timeout=timeout)


def test_a_service_has_a_name() -> None:
    with Peer() as peer, Client(peer.url("alice")) as me:
        with pytest.raises(errors.BadValue, match="name of a service"):
            me.streams.open("bob", "")
        with pytest.raises(errors.BadValue, match="name of a service"):
            me.serve_stream("x" * 65, lambda stream: None)
