"""Places: from text, and listening at them."""

import asyncio
import socket
import stat
from pathlib import Path

import pytest
from relay_client import BadAddress
from relay_tunnel.places import Place, PlaceError, bind, connect, parse_place, unbind, why

from tests.relay_client.peer import DEADLINE_S
from tests.relay_tunnel.conftest import unused_port


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("8080", Place("127.0.0.1", 8080)),
        ("db.lan:5432", Place("db.lan", 5432)),
        ("[::1]:80", Place("::1", 80)),
        ("unix:/run/x", Place("", 0, "/run/x")),
    ],
)
def test_text_names_a_place(text: str, place: Place) -> None:
    assert parse_place(text) == place
    assert parse_place(str(place)) == place


@pytest.mark.parametrize("text", ["", "web", ":80", "::1:80", "host:", "host:http", "65536", "unix:", "host:1:2", "-1"])
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(BadAddress):
        parse_place(text)


def test_a_place_that_is_taken_is_a_sentence(tmp_path: Path) -> None:
    listener, place = bind(parse_place("0"))
    with pytest.raises(PlaceError, match=f"cannot listen on {place}: another process"):
        bind(place)
    listener.close()
    (tmp_path / "file").write_text("precious")
    for path in (tmp_path / "file", tmp_path / "nowhere/s"):
        with pytest.raises(PlaceError, match="cannot listen on unix:"):
            bind(parse_place(f"unix:{path}"))
    assert (tmp_path / "file").read_text() == "precious"


def test_a_unix_socket_is_its_owners_and_goes_in_the_end(socket_path: str) -> None:
    place = parse_place(socket_path)
    listener, _ = bind(place)
    assert stat.S_IMODE(Path(place.path).stat().st_mode) == 0o600
    with pytest.raises(PlaceError, match="another process"):
        bind(place)
    unbind(listener, place)
    assert not Path(place.path).exists()


def test_what_a_killed_program_left_is_replaced(socket_path: str) -> None:
    place = parse_place(socket_path)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(place.path)
    listener, _ = bind(place)
    other, _ = bind_after(listener, place)
    unbind(listener, place)
    assert Path(place.path).exists(), "it is the other's by now"
    unbind(other, place)


def bind_after(listener: socket.socket, place: Place) -> tuple[socket.socket, Place]:
    """Somebody removes the file and listens there."""
    Path(place.path).unlink()
    return bind(place)


def test_nobody_there_is_a_sentence() -> None:
    with pytest.raises(ConnectionRefusedError) as refusal:
        asyncio.run(connect(Place("127.0.0.1", unused_port()), DEADLINE_S))
    assert why(refusal.value) == "connection refused"
    with pytest.raises(FileNotFoundError) as missing:
        asyncio.run(connect(Place("", 0, "/nonexistent/s"), DEADLINE_S))
    assert why(missing.value) == "there is no such file or directory"
    assert why(TimeoutError()) == "no answer in time"
