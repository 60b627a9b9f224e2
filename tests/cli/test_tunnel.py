"""`relay expose` and `relay forward` as processes, with a web server of the standard library behind them."""

import http.client
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.cli.conftest import Town
from tests.process import running


@pytest.fixture
def web_port(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "page").write_text("hello")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(tmp_path))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def get(port: int) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/page")
    body = connection.getresponse().read()
    connection.close()
    return body


def test_a_web_server_is_reached_from_elsewhere(town: Town, web_port: int) -> None:
    alice, bob, carol = (town.user(name) for name in ("alice", "bob", "carol"))
    words = ("expose", str(web_port), "--as", "web", "--to", f"{bob.title()},nobody", "-v")
    with running(*words, home=town.home, env=town.env(alice)) as expose:
        assert expose.line() == f"exposing 127.0.0.1:{web_port} as {alice}/web to {bob} and nobody"
        with running("forward", f"{alice}/web", "0", "-v", home=town.home, env=town.env(bob)) as forward:
            place, _, tunnel = forward.line().removeprefix("listening on ").partition(" for ")
            assert tunnel == f"{alice}/web" and place.startswith("127.0.0.1:")
            for _ in range(20):
                assert get(int(place.rpartition(":")[2])) == b"hello"
            for side in (expose, forward):
                assert side.await_line("relay: connection 20 ", " ended: ", " bytes sent, ")
            assert forward.stop(signal.SIGINT) == 130
        path = town.home / "s"
        words = ("forward", f"{alice}/web", "--listen", f"unix:{path}")
        with running(*words, home=town.home, env=town.env(carol)) as forward:
            assert forward.line() == f"listening on unix:{path} for {alice}/web"
            assert forward.stop() == 143
            assert forward.rest("stderr") == []
        assert not path.exists()
        assert expose.stop(signal.SIGINT) == 130
        assert not expose.seen("Traceback")


def test_many_at_once_all_get_what_they_ask_for(town: Town, web_port: int) -> None:
    alice, bob = town.user("alice"), town.user("bob")
    with running("expose", str(web_port), "--as", "web", "--to", bob, home=town.home, env=town.env(alice)) as expose:
        expose.line()
        with running("forward", f"{alice}/web", "0", home=town.home, env=town.env(bob)) as forward:
            port = int(forward.line().split()[2].rpartition(":")[2])
            with ThreadPoolExecutor(16) as visitors:
                assert list(visitors.map(lambda _: get(port), range(300))) == [b"hello"] * 300
            for side in (expose, forward):
                assert side.seen("") == []


def test_a_refusal_is_told_at_both_ends(town: Town, web_port: int) -> None:
    alice, bob = town.user("alice"), town.user("bob")
    words = ("expose", str(web_port), "--as", "web")
    with running(*words, home=town.home, env=town.env(alice)) as expose:
        assert expose.line().endswith(f" as {alice}/web to your other devices")
        with running("forward", f"{alice}/web", "0", home=town.home, env=town.env(bob)) as forward:
            port = int(forward.line().split()[2].rpartition(":")[2])
            with pytest.raises((ConnectionError, http.client.HTTPException)):
                get(port)
            sentence = f"the tunnel 'web' is not for {bob}"
            assert forward.await_line(f"relay: connection 1 to {alice}/web closed: {sentence}")
            assert expose.await_line(f"relay: connection 1 of {bob}/", "refused", sentence)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("expose", "80", "--as", "a b"), "no name for a tunnel"),
        (("expose", "web", "--as", "web"), "'web' is no place"),
        (("expose", "0", "--as", "web"), "no port to connect to"),
        (("expose", "80", "--as", "web", "--to", "a b"), "--to: "),
        (("expose", "80"), "--as"),
        (("forward", "web", "80"), "is no tunnel"),
        (("forward", "a/web"), "give a port, or --listen"),
        (("forward", "a/web", "80", "--listen", "unix:/x"), "give a port, or --listen"),
    ],
)
def test_what_makes_no_sense_is_a_sentence(town: Town, words: tuple[str, ...], said: str) -> None:
    done = town.run(*words, user="nobody")
    assert done.returncode == 2 and said in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_a_port_that_is_taken_is_a_sentence(town: Town, web_port: int) -> None:
    done = town.run("forward", "alice/web", str(web_port), user=town.user())
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"relay: cannot listen on 127.0.0.1:{web_port}: another process")


def test_nothing_at_the_target_is_told_at_once(town: Town) -> None:
    with running("expose", "unix:/nonexistent/s", "--as", "x", home=town.home, env=town.env(town.user())) as expose:
        expose.line()
        assert expose.await_line("relay: nothing answers at unix:/nonexistent/s now: there is no such file")
