"""Browsers' way in: a WebSocket is a session like any other, on the same port, beside native ones."""

import contextlib
import random
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus

from relay.protocol.codes import CloseCode
from relay.protocol.packets import Close, Signal, Stored
from tests.integration.peer import Peer, eventually, message_in
from tests.integration.samples import before_login
from tests.integration.stage import RelayProcess, Stage
from tests.integration.websocket import WebSocketPeer


def test_the_four_first_things_that_a_client_does(stage: Stage) -> None:
    web, native = WebSocketPeer(stage.relay.address), stage.connect()
    alice, bob = stage.user(), stage.user()
    web.log_in(alice, "web")
    native.log_in(bob)
    web.receive_messages()
    native.receive_messages()
    assert isinstance(web.store(bob, 1, b"hello"), Stored)
    assert message_in(native.expect_delivery()).body == b"hello"
    native.message(alice, 1, b"x" * 1_000_000)
    native.expect(Stored)
    assert message_in(web.expect_delivery()).body == b"x" * 1_000_000
    web.signal(bob, b"s" * 70_000)
    assert native.expect(Signal).body == b"s" * 70_000
    native.signal(web.address, b"back")
    assert web.expect(Signal).body == b"back"
    web.alive()
    web.close()


def test_a_frame_may_be_spread_over_messages_and_fragments(stage: Stage) -> None:
    web = WebSocketPeer(stage.relay.address, subprotocols=["relay.1"])
    assert web.websocket.subprotocol == "relay.1"
    web.log_in(stage.user())
    ping = b"\0\0\0\3\x92\5\x2a"
    for cut in range(len(ping)):
        web.websocket.send(ping[:cut])
        web.websocket.send([ping[cut : cut + 1], ping[cut + 1 :]])
    for _ in ping:
        assert web.packet() == (42,)
    pong = web.websocket.ping(b"between")
    assert pong.wait(15)
    web.alive()
    web.close()


@pytest.mark.parametrize("sample", before_login(), ids=lambda sample: sample.name)
def test_a_stranger_in_a_websocket_is_told_why(stage: Stage, sample: object) -> None:
    web = WebSocketPeer(stage.relay.address)
    web.send_bytes(sample.data)  # type: ignore[attr-defined]
    assert web.closing().code == sample.code  # type: ignore[attr-defined]
    assert web.last_code in (1008, 1009)


def test_the_end_is_a_close_packet_and_then_a_close_frame(stage: Stage) -> None:
    user = stage.user()
    first, second = WebSocketPeer(stage.relay.address), stage.connect()
    first.log_in(user, "same")
    second.log_in(user, "same")
    assert first.closing().code == CloseCode.REPLACED
    assert first.last_code == 1008
    other = WebSocketPeer(stage.relay.address)
    other.log_in(stage.user())
    other.send(Close(4000, "bye", None))
    assert other.closing().code == CloseCode.NORMAL
    assert other.last_code == 1000


def test_text_is_refused(stage: Stage) -> None:
    web = WebSocketPeer(stage.relay.address)
    web.log_in(stage.user())
    web.websocket.send("text")
    web.await_end()
    assert web.last_code == 1003


def test_one_that_vanishes_is_forgotten(stage: Stage) -> None:
    web, user = WebSocketPeer(stage.relay.address), stage.user()
    web.log_in(user)
    web.vanish()
    eventually(lambda: bool(stage.relay.process.seen(f"{user}/device", "is gone")))


def test_pages_of_other_sites_are_turned_away(stage: Stage) -> None:
    with pytest.raises(InvalidStatus) as caught:
        WebSocketPeer(stage.relay.address, headers={"Origin": "https://evil.test"})
    assert caught.value.response.status_code == 403
    same = WebSocketPeer(stage.relay.address, headers={"Origin": f"http://{stage.relay.address}"})
    same.log_in(stage.user())
    same.close()


def test_health_checks_answer_beside_sessions(stage: Stage) -> None:
    for path, body in (("/healthz", b"alive\n"), ("/readyz", b"ready\n")):
        with urllib.request.urlopen(f"http://{stage.relay.address}{path}", timeout=15) as answer:
            assert (answer.status, answer.read()) == (200, body)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"http://{stage.relay.address}/nothing", timeout=15)
    assert caught.value.code == 404
    caught.value.close()


def test_a_slow_request_costs_a_connection_and_an_answer(hurry: Stage) -> None:
    peer = hurry.connect()
    peer.send_bytes(b"GET / HTTP/1.1\r\nHost:")
    assert b"HTTP/1.1 408 " in peer._receive()
    peer.close()


def test_a_websocket_that_never_says_hello_is_closed(hurry: Stage) -> None:
    web = WebSocketPeer(hurry.relay.address)
    assert web.closing().code == CloseCode.HANDSHAKE_TIMEOUT
    assert web.last_code == 1013


def test_a_silent_websocket_is_asked_and_then_closed(hurry: Stage) -> None:
    web = WebSocketPeer(hurry.relay.address)
    web.log_in(hurry.user())
    web.expect_ping()
    assert web.closing().code == CloseCode.KEEPALIVE_TIMEOUT


def test_a_relay_that_ends_says_so_to_browsers(tmp_path: Path) -> None:
    with RelayProcess(tmp_path, drain_spread_s=0) as relay:
        web, early, asking = WebSocketPeer(relay.address), WebSocketPeer(relay.address), Peer(relay.address)
        web.log_in("user1")
        asking.send_bytes(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"alive" in asking._receive()
        relay.process.process.terminate()
        assert web.closing().code == CloseCode.SHUTTING_DOWN
        assert web.last_code == 1001
        assert early.closing().code == CloseCode.SHUTTING_DOWN
        asking.await_end()
        assert relay.process.wait() == 0
        relay.check_log()


def test_bad_http_clients_cost_only_themselves(stage: Stage) -> None:
    """The bystanders of the stage go on, and every descriptor comes back."""
    chance = random.Random(6)
    good = b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    for _ in range(150):
        peer = stage.connect()
        data = bytearray(good * chance.choice((1, 1, 1, 30, 300)))
        for _ in range(chance.randint(0, 8)):
            data[chance.randrange(1, len(data))] = chance.randrange(256)
        with contextlib.suppress(OSError):
            peer.send_bytes(bytes(data[: chance.randint(1, len(data))]))
        if chance.random() < 0.5:
            peer.close()
    stage.undisturbed()


def test_a_relay_that_is_full_says_so_in_the_callers_language(tmp_path: Path) -> None:
    with RelayProcess(tmp_path, connections_max=1, drain_spread_s=0) as relay:
        inside = WebSocketPeer(relay.address)
        inside.log_in(relay.user())
        native = Peer(relay.address)
        native.send_bytes(b"\0\0\0\3\x92\5\1")
        assert native.closing().code == CloseCode.TOO_MANY_CONNECTIONS
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"http://{relay.address}/", timeout=15)
        assert caught.value.code == 503
        assert b"has its 1 connections" in caught.value.read()
        inside.close()
