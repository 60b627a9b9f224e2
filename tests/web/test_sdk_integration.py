"""The browser SDK in Node against the real relay, the Python SDK at the other end: two readings of one document."""

import hashlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from relay_client import Client, MethodError, StreamReset, errors

from tests.process import run
from tests.relay_client.peer import DEADLINE_S, until
from tests.relay_client.town import PASSWORD, Town
from tests.web.node import NodeClient, NodeError, needs_node, pattern

pytestmark = needs_node
STREAM_BYTES = 20_000_000


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    town = Town(tmp_path_factory.mktemp("town"))
    town.add("carol")
    with town.open():
        yield town


@pytest.fixture
def users(shared: Town, request: pytest.FixtureRequest) -> tuple[str, str]:
    number = abs(hash(request.node.nodeid)) % 10**9
    names = (f"alice{number}", f"bob{number}")
    shared.add(*names)
    return names


@pytest.fixture
def node() -> Iterator[NodeClient]:
    with NodeClient() as client:
        yield client


def ws(town: Town) -> str:
    return f"ws://{town.address}/ws"


def sign_in(node: NodeClient, town: Town, user: str, **options: Any) -> Any:
    return node.ask("connect", url=ws(town), user=user, **{"password": PASSWORD, "device": "node", **options})


@pytest.fixture
def pair(shared: Town, users: tuple[str, str], node: NodeClient) -> Iterator[tuple[NodeClient, Client]]:
    """Alice in Node, bob in Python."""
    alice, bob = users
    sign_in(node, shared, alice)
    with Client(shared.url(bob), "python") as other:
        other.receive()
        yield node, other


def test_login_and_a_wrong_password(shared: Town, users: tuple[str, str], node: NodeClient) -> None:
    alice, _ = users
    with pytest.raises(NodeError) as refused:
        sign_in(node, shared, alice, password="wrong")
    assert refused.value.reason == "LOGIN_FAILED"
    assert sign_in(node, shared, alice.upper())["address"] == f"{alice}/node"
    assert node.ask("state") == "open"


def test_nobody_listens(node: NodeClient) -> None:
    with pytest.raises(NodeError) as refused:
        node.ask("connect", url="ws://127.0.0.1:9/ws", user="alice", password="x")
    assert refused.value.reason == "UNREACHABLE"


VALUES = ["hello", "你好 👋", 7, -1.5, None, True, {"a": [1, {"b": "c"}]}, [], "", "x" * 100_000]


def test_messages_both_ways(pair: tuple[NodeClient, Client], users: tuple[str, str]) -> None:
    node, other = pair
    alice, bob = users
    for offset, value in enumerate(VALUES, 1):
        assert node.ask("send", to=bob, value=value)["offset"] == offset
    came = list(other.messages(timeout=DEADLINE_S, count=len(VALUES)))
    assert [message.value for message in came] == VALUES
    assert {(message.sender, message.sender_device) for message in came} == {(alice, "node")}
    for value in VALUES:
        other.send(alice, value)
    other.send(alice, b"\0\xff")
    back = node.await_received(len(VALUES) + 1)
    assert [message["value"] for message in back] == [*VALUES, {"bytes": "AP8="}]
    assert [message["offset"] for message in back] == list(range(len(VALUES) + 1, 2 * len(VALUES) + 2))
    assert {(message["sender"], message["senderSession"], message["mine"]) for message in back} == {
        (bob, f"{bob}/python", False)
    }


def test_messages_that_are_refused(pair: tuple[NodeClient, Client]) -> None:
    node, _ = pair
    for to, reason in [
        ("nobody-at-all", "NO_SUCH_USER"),
        ("no such name", "BAD_ADDRESS"),
        ("#nowhere", "NO_SUCH_ROOM"),
    ]:
        with pytest.raises(NodeError) as refused:
            node.ask("send", to=to, value="x")
        assert refused.value.reason == reason
    assert node.ask("state") == "open"


def test_calls_both_ways(pair: tuple[NodeClient, Client], users: tuple[str, str]) -> None:
    node, other = pair
    alice, bob = users
    other.serve("add", lambda call, a, b: a + b)
    other.serve("named", lambda call, a, b: [a, b])
    other.serve("broken", lambda call: 1 / 0)
    assert node.ask("call", to=bob, method="add", args=[2, 3]) == 5
    assert node.ask("call", to=f"{bob}/python", method="named", args={"a": 1, "b": "x"}) == [1, "x"]
    for method, reason in [("broken", "METHOD_FAILED"), ("missing", "NO_SUCH_METHOD")]:
        with pytest.raises(NodeError) as failed:
            node.ask("call", to=bob, method=method)
        assert failed.value.reason == reason
    node.ask("serve", names=["add", "named", "whole", "fail", "refuse", "silent"])
    assert other.call(alice, "add", 40, 2) == 42
    assert other.call(alice, "named", a=1, b=None) == {"a": 1, "b": None}
    assert other.call(alice, "whole", b"\1") == [b"\1"]
    with pytest.raises(errors.CallFailed, match="broken"):
        other.call(alice, "fail")
    with pytest.raises(errors.CallFailed, match="not today") as told:
        other.call(alice, "refuse")
    assert told.value.code == 1234
    with pytest.raises(errors.TimedOut):
        other.call(alice, "silent", timeout=0.2)


def test_signals_both_ways(pair: tuple[NodeClient, Client], users: tuple[str, str]) -> None:
    node, other = pair
    alice, bob = users
    signals: list[Any] = []
    taking = threading.Thread(target=lambda: signals.extend(other.signals(timeout=DEADLINE_S, count=2)))
    taking.start()
    until(lambda: (node.ask("signal", to=bob, value={"n": 1}), node.ask("typing", to=bob), not taking.is_alive())[-1])
    assert signals[0].value == {"n": 1}
    assert signals[1].is_typing
    other.signal(alice, "ping")
    other.typing(alice)
    assert node.await_event("signal")["value"] == "ping"
    assert node.await_event("typing", user=bob)["conversation"] == f"{alice}@{bob}"


def test_streams_both_ways(pair: tuple[NodeClient, Client], users: tuple[str, str]) -> None:
    node, other = pair
    alice, bob = users

    def echo(stream: Any) -> None:
        stream.accept({"hello": stream.opening["size"]})
        for chunk in stream:
            stream.write(chunk)

    other.serve_stream("echo", echo)
    done = node.ask("open", to=bob, service="echo", size=STREAM_BYTES, seed=3)
    assert done["answer"] == {"hello": STREAM_BYTES}
    wanted = hashlib.sha256(pattern(STREAM_BYTES, 3)).hexdigest()
    assert (done["sent"], done["received"], done["total"]) == (wanted, wanted, STREAM_BYTES)

    node.ask("offer", names=["echo", "refuse"])
    sent = pattern(STREAM_BYTES, 9)
    with other.streams.open(alice, "echo") as stream:
        assert stream.answer == {"from": "node"}
        writer = threading.Thread(target=lambda: (stream.write(sent), stream.finish()))
        writer.start()
        assert hashlib.sha256(stream.read()).digest() == hashlib.sha256(sent).digest()
        writer.join(DEADLINE_S)
    with pytest.raises(StreamReset, match="not today") as refused:
        other.streams.open(alice, "refuse")
    assert refused.value.code == 1234
    with pytest.raises(NodeError) as missing:
        node.ask("open", to=bob, service="nothing", size=1, seed=0)
    assert missing.value.reason == "NO_SUCH_SERVICE"


def test_who_does_not_read_is_not_written_to(pair: tuple[NodeClient, Client], users: tuple[str, str]) -> None:
    """Backpressure both ways: a writer gets as far as the window, and on as soon as the reader reads."""
    node, other = pair
    alice, bob = users
    read_on = threading.Event()
    total: list[int] = []

    def lazy(stream: Any) -> None:
        stream.accept()
        read_on.wait(DEADLINE_S)
        total.append(sum(len(chunk) for chunk in stream))

    other.serve_stream("lazy", lazy)
    filled = node.ask("fill", to=bob, service="lazy", waitMs=400)
    assert 0 < filled["before"] <= 2 * 1024 * 1024
    assert not filled["finish"]
    read_on.set()
    until(lambda: bool(total))
    assert total[0] >= filled["before"]

    node.ask("offer", names=["lazy"])
    with other.streams.open(alice, "lazy") as stream:
        stream.timeout = 0.4
        written = 0
        with pytest.raises(errors.TimedOut):
            while written < 8 * 1024 * 1024:
                stream.write(bytes(65536))
                written += 65536
        assert written <= 2 * 1024 * 1024
        stream.timeout = DEADLINE_S


def test_rooms_history_and_receipts(pair: tuple[NodeClient, Client], users: tuple[str, str]) -> None:
    node, other = pair
    alice, bob = users
    room = f"#r{alice}"
    created = node.ask("ask", path="rooms.create", args=[room, {"title": "T", "public": False}])
    assert (created["room"], created["role"], created["public"]) == (room, "owner", False)
    node.ask("ask", path="rooms.invite", args=[room, bob])
    other.rooms.join(room)
    node.await_event("room", what="joined", user=bob)
    assert {(one["user"], one["role"]) for one in node.ask("ask", path="rooms.members", args=[room])} == {
        (alice, "owner"),
        (bob, "member"),
    }
    node.ask("send", to=room, value="from node")
    other.send(room, "from python")
    assert [message.text for message in other.messages(timeout=DEADLINE_S, count=1)] == ["from node"]
    assert node.await_received(1)[0]["conversation"] == room
    page = node.ask("history", conversation=room, after=0)
    assert [(one["offset"], one["value"], one["mine"]) for one in page["messages"]] == [
        (1, "from node", True),
        (2, "from python", False),
    ]
    assert (page["first"], page["head"]) == (1, 2)
    node.ask("ask", path="receipts.watch")
    node.ask("send", to=bob, value="read me")
    [message] = other.messages(timeout=DEADLINE_S, count=1)
    message.mark_read()
    assert node.await_event("receipt", user=bob, read=1)["conversation"] == f"{alice}@{bob}"
    other.send(alice, "and you me")
    node.await_received(2)
    node.ask("read", conversation=bob, offset=2)
    until(lambda: any(one.user == alice and one.read == 2 for one in other.conversations.receipts(alice)))
    found = {one["conversation"]: one for one in node.ask("ask", path="conversations")}
    assert set(found) == {room, f"{alice}@{bob}"}
    assert (found[f"{alice}@{bob}"]["other"], found[f"{alice}@{bob}"]["read"]) == (bob, 2)
    watched = node.ask("ask", path="presence.watch", args=[[bob]])
    assert [(one["user"], one["state"]) for one in watched] == [(bob, "online")]
    other.close()
    node.await_event("presence", user=bob, state="offline")


def test_a_cut_is_healed_by_ticket_and_what_waits_goes_out(
    shared: Town, pair: tuple[NodeClient, Client], users: tuple[str, str]
) -> None:
    node, other = pair
    alice, bob = users
    node.ask("serve", names=["add"])
    flood = node.begin("flood", to=bob, until=2000, pauseEvery=20, **{"from": 0})
    for _ in range(5):
        until(lambda: node.ask("state") == "open")
        node.ask("cut")
        other.send(alice, "meanwhile")
        node.await_event("state", state="waiting")
        node.ask("hurry")
        node.await_event("state", state="open")
    assert flood.result(DEADLINE_S) == {"stored": 2000, "distinct": 2000, "ascending": True}
    assert [message.value for message in other.messages(timeout=DEADLINE_S, count=2000)] == list(range(2000))
    assert len(node.await_received(5)) == 5
    assert other.call(alice, "add", 1, 2) == 3
    assert shared.process
    assert shared.process.seen(f"{alice}/node", "TICKET")


def test_a_new_process_sends_what_the_old_one_could_not(tmp_path: Path) -> None:
    town = Town(tmp_path)
    town.add("alice", "bob")
    file = str(tmp_path / "device")
    with town.open(), NodeClient() as node:
        device = sign_in(node, town, "alice", file=file, device=None)["address"]
        node.ask("send", to="bob", value="first")
        town.process and town.process.stop(signal.SIGKILL)
        for value in ("second", "third"):
            node.begin("send", to="bob", value=value)
        node.await_event("state", state="waiting")
        with pytest.raises(NodeError):
            node.ask("call", to="bob", method="x", timeoutMs=1)
    with town.open(), NodeClient() as node, Client(town.url("bob"), "python", start=10) as bob:
        again = sign_in(node, town, "alice", file=file, device=None)
        assert again == {"address": device, "pending": ["second", "third"]}
        node.ask("drained")
        assert [message.text for message in bob.messages(timeout=DEADLINE_S, count=3)] == ["first", "second", "third"]
        assert list(bob.messages(timeout=0.1)) == []


def test_close_codes_are_obeyed(shared: Town, users: tuple[str, str], node: NodeClient) -> None:
    alice, _ = users
    sign_in(node, shared, alice)
    with NodeClient() as second:
        sign_in(second, shared, alice)
        assert node.await_event("state", state="ended")["error"]["code"] == 4202
        with pytest.raises(NodeError) as ended:
            node.ask("send", to=alice, value="x")
        assert ended.value.reason == "REPLACED"
        assert second.ask("state") == "open"


def test_method_errors_keep_their_code(pair: tuple[NodeClient, Client], users: tuple[str, str]) -> None:
    node, other = pair

    def refuse(call: Any) -> None:
        raise MethodError("out of milk", 1001)

    other.serve("milk", refuse)
    with pytest.raises(NodeError, match="out of milk") as failed:
        node.ask("call", to=users[1], method="milk")
    assert failed.value.code == 1001


FILE_BYTES = 3 * 1024 * 1024 + 17


def test_files_through_the_relay(pair: tuple[NodeClient, Client], users: tuple[str, str], tmp_path: Path) -> None:
    node, other = pair
    alice, bob = users
    sent = node.ask("sendFile", to=bob, name="päper.png", size=FILE_BYTES, seed=5, type="image/png")
    assert (sent["name"], sent["size"], sent["type"]) == ("päper.png", FILE_BYTES, "image/png")
    [message] = other.messages(timeout=DEADLINE_S, count=1)
    assert message.file and (message.file.id, message.file.name, message.file.size) == (
        sent["id"],
        "päper.png",
        FILE_BYTES,
    )
    got = other.files.get(message.file.id, tmp_path)
    assert got.path and Path(got.path).read_bytes() == pattern(FILE_BYTES, 5)

    for size in (0, 1, 2 * 1024 * 1024):
        back = tmp_path / f"back{size}.html"
        back.write_bytes(pattern(size, 6))
        other.files.send(str(back), alice, content_type="text/html")
    announced = [message["value"] for message in node.await_received(3)]
    for size, value in zip((0, 1, 2 * 1024 * 1024), announced, strict=True):
        assert (value["name"], value["size"], value["type"]) == (f"back{size}.html", size, "text/html")
        fetched = node.ask("getFile", file=value["id"])
        assert fetched == {
            "name": f"back{size}.html",
            "type": "application/octet-stream",
            "size": size,
            "hash": hashlib.sha256(pattern(size, 6)).hexdigest(),
        }
    listed = node.ask("ask", path="files.list", args=[{"conversation": bob}])["files"]
    assert {one["name"] for one in listed} == {"päper.png", *(f"back{size}.html" for size in (0, 1, 2 * 1024 * 1024))}
    with pytest.raises(NodeError) as missing:
        node.ask("getFile", file="aaaaaaaaaaaa")
    assert missing.value.reason == "NO_SUCH_FILE"


def test_a_file_survives_cuts(pair: tuple[NodeClient, Client], users: tuple[str, str]) -> None:
    node, other = pair
    size = 24 * 1024 * 1024
    sending = node.begin("sendFile", to=users[1], name="big", size=size, seed=8, type="")
    for _ in range(4):
        until(lambda: node.ask("state") == "open")
        node.ask("cut")
        node.await_event("state", state="waiting")
        node.ask("hurry")
    assert sending.result(DEADLINE_S)["hash"]
    [message] = other.messages(timeout=DEADLINE_S, count=1)
    assert message.file
    fetching = node.begin("getFile", file=message.file.id)
    node.ask("cut")
    assert fetching.result(DEADLINE_S)["hash"] == hashlib.sha256(pattern(size, 8)).hexdigest()


def test_a_restored_relay_is_noticed(tmp_path: Path) -> None:
    """Offsets stand for other messages then: what is delivered is new, and what waits goes out."""
    town = Town(tmp_path)
    town.add("alice", "bob")
    file, backup = str(tmp_path / "device"), str(tmp_path / "backup.db")
    with town.open(), NodeClient() as node, Client(town.url("bob"), "python") as bob:
        bob.receive()
        sign_in(node, town, "alice", file=file)
        bob.send("alice", "kept")
        node.await_received(1)
        node.ask("close")
        assert run("backup", backup, "--data", str(town.data), home=tmp_path).returncode == 0
        sign_in(node, town, "alice", file=file)
        for number in range(3):
            bob.send("alice", f"forgotten {number}")
        node.await_received(4)
        node.ask("close")
    assert run("restore", backup, "--force", "--data", str(town.data), home=tmp_path).returncode == 0
    with town.open(), NodeClient() as node, Client(town.url("bob"), "python") as bob:
        sign_in(node, town, "alice", file=file)
        bob.send("alice", "another second")
        came = [(one["offset"], one["value"]) for one in node.await_received(1)]
        assert came[-1] == (2, "another second")
        node.ask("send", to="bob", value="and on")
        assert [message.text for message in bob.messages(timeout=DEADLINE_S, count=1)] == ["and on"]
