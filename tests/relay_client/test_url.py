"""URLs of relays: what they say, and that nothing ever shows the password."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from relay_client.errors import BadUrl
from relay_client.url import Endpoint, parse_url


@pytest.mark.parametrize(
    ("url", "user", "password", "endpoint", "place"),
    [
        ("relay://alice:secret@127.0.0.1:7450", "alice", "secret", Endpoint("127.0.0.1", 7450), "127.0.0.1:7450"),
        ("relay://alice:secret@localhost", "alice", "secret", Endpoint("localhost", 7450), "localhost:7450"),
        ("relay://alice:secret@localhost/", "alice", "secret", Endpoint("localhost", 7450), "localhost:7450"),
        ("RELAY://ALICE:Secret@Host.example:1", "alice", "Secret", Endpoint("Host.example", 1), "Host.example:1"),
        ("relay://alice:secret@[::1]:99", "alice", "secret", Endpoint("::1", 99), "[::1]:99"),
        ("relay://alice:secret@[fe80::1%25eth0]", "alice", "secret", Endpoint("fe80::1%eth0", 7450), None),
        ("relay://alice:p%40ss%3A%2F@h", "alice", "p@ss:/", Endpoint("h", 7450), "h:7450"),
        ("relay://alice:p:a:s@h:1", "alice", "p:a:s", Endpoint("h", 1), "h:1"),
        ("relay://alice:p@ss@h:1", "alice", "p@ss", Endpoint("h", 1), "h:1"),
        ("relay://zo%C3%AB:s@h", "zoë", "s", Endpoint("h", 7450), "h:7450"),
        ("relays://alice:s@h", "alice", "s", Endpoint("h", 7450, None, True), "h:7450"),
        ("relays://alice:s@h:1/?ca=/a%20b", "alice", "s", Endpoint("h", 1, None, True, "/a b"), "h:1"),
        ("relay+unix://alice:s@/run/relay", "alice", "s", Endpoint("", 0, "/run/relay"), "unix:/run/relay"),
        ("relay+unix://alice:s@/a%20b%25", "alice", "s", Endpoint("", 0, "/a b%"), "unix:/a b%"),
    ],
)
def test_what_a_url_says(url: str, user: str, password: str, endpoint: Endpoint, place: str | None) -> None:
    target = parse_url(url)
    assert (target.user, target.password, target.endpoint) == (user, password, endpoint)
    assert place is None or target.endpoint.place == place


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("", "not a relay's URL"),
        ("http://alice:hush@h", "not a relay's URL"),
        ("alice:hush@h", "not a relay's URL"),
        ("relay://h:7450", "names no user"),
        ("relay://:hush@h", "names no user"),
        ("relay://alice@h", "no password"),
        ("relay://alice:@h", "empty"),
        ("relay://alice:hush@", "no host"),
        ("relay://alice:hush@:7450", "no host"),
        ("relay://alice:hush@h:port", "port"),
        ("relay://alice:hush@h:0", "port"),
        ("relay://alice:hush@h:65536", "port"),
        ("relay://alice:hush@h:", "port"),
        ("relay://alice:hush@h:²", "port"),
        ("relay://alice:hush@::1:7450", "brackets|port"),
        ("relay://alice:hush@[::1", "brackets|host"),
        ("relay://alice:hush@[::1]7450", "brackets"),
        ("relay://alice:hush@[h]:7450", "brackets"),
        ("relay://alice:hush@h/path", "host|port"),
        ("relay://alice:hush@h h", "host"),
        ("relay://alice:hush@h?ca=x", "host"),
        ("relays://alice:hush@h?ca=", "ca=FILE"),
        ("relays://alice:hush@h?verify=no", "ca=FILE"),
        ("relays://alice:hush@h?", "ca=FILE"),
        ("relay://al%20ice:hush@h", "user"),
        ("relay://alice/phone:hush@h", "user"),
        ("relay://alice:hush%ff@h", "UTF-8"),
        ("relay+unix://alice:hush@run/relay", "absolute path"),
        ("relay+unix://alice:hush@", "absolute path"),
        ("relay+unix://alice:hush@/a%00b", "absolute path"),
    ],
)
def test_a_url_that_is_none_is_explained_without_its_password(url: str, hint: str) -> None:
    with pytest.raises(BadUrl, match=hint) as caught:
        parse_url(url)
    assert "hush" not in str(caught.value)


def test_a_password_given_apart_wins() -> None:
    assert parse_url("relay://alice@h", "apart").password == "apart"
    assert parse_url("relay://alice:inside@h", "apart").password == "apart"
    with pytest.raises(BadUrl, match="empty"):
        parse_url("relay://alice:inside@h", "")


def test_a_target_does_not_show_its_password() -> None:
    target = parse_url("relay://alice:hush@h")
    assert "hush" not in repr(target) and "hush" not in str(target) and "hush" not in f"{target}"


@settings(deadline=None)
@given(st.text(max_size=40))
def test_any_text_is_a_url_or_is_explained(text: str) -> None:
    for url in (text, f"relay://alice:{text}", f"relay://{text}@h", f"relay+unix://alice:x@{text}"):
        with contextlib.suppress(BadUrl):
            parse_url(url)
