"""SCRAM: the published example, and everything that must not get through."""

import base64
import os
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.protocol.codes import CloseCode
from relay.protocol.errors import RemoteError
from relay.protocol.scram import (
    ITERATIONS_DEFAULT,
    ITERATIONS_MAX,
    ITERATIONS_MIN,
    ClientLogin,
    Credentials,
    LoginRefusedError,
    ServerLogin,
    fake_credentials,
    make_credentials,
)
from tests.protocol.examples import LOGIN, log_in

USER, PASSWORD = "alice", "correct horse"
CREDENTIALS = make_credentials(PASSWORD, ITERATIONS_MIN)
CLIENT_NONCE, SERVER_NONCE = "clientnonce", "servernonce"

# RFC 7677 section 3.
RFC_USER, RFC_PASSWORD = "user", "pencil"
RFC_NONCES = ("rOprNGfwEbeRWgbNEkqO", "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0")
RFC_SALT = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
RFC_MESSAGES = [
    b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
    b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
    b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
    b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
]


class Exchange:
    """One login, step by step, each message kept."""

    def __init__(self, user: str = USER, password: str = PASSWORD, credentials: Credentials = CREDENTIALS) -> None:
        self.client = ClientLogin(user, password, nonce=CLIENT_NONCE)
        self.server = ServerLogin(user, credentials, nonce=SERVER_NONCE)
        self.client_first = self.client.first()
        self.server_first = self.server.first(self.client_first)

    def finish(self) -> None:
        self.client_final = self.client.final(self.server_first)
        self.server_final = self.server.final(self.client_final)
        self.client.check(self.server_final)


def test_the_published_example() -> None:
    expected = log_in(RFC_USER, RFC_PASSWORD, RFC_NONCES, RFC_SALT, 4096)
    client = ClientLogin(RFC_USER, RFC_PASSWORD, nonce=RFC_NONCES[0])
    server = ServerLogin(RFC_USER, expected.credentials, nonce=RFC_NONCES[1])
    messages = [client.first()]
    messages.append(server.first(messages[0]))
    messages.append(client.final(messages[1]))
    messages.append(server.final(messages[2]))
    client.check(messages[3])
    assert messages == RFC_MESSAGES


@pytest.mark.parametrize("user", ["alice", "a=b", "a,b", "=2C", "山田", "straße"])
@pytest.mark.parametrize("password", ["x", "correct horse", "p,a=s", "pässwörd", "\u00a0", "x" * 1000])
def test_every_name_and_password_can_log_in(user: str, password: str) -> None:
    Exchange(user, password, make_credentials(password, ITERATIONS_MIN)).finish()


def test_spellings_of_one_password_are_one_password() -> None:
    credentials = make_credentials("\u212b\u00ad1", ITERATIONS_MIN)
    Exchange(USER, "Å1", credentials).finish()


@pytest.mark.parametrize("password", ["", "\u00ad", "a\u0007", "\ud800", "😀"], ids=ascii)
def test_a_password_that_cannot_be_used_is_refused_on_both_sides(password: str) -> None:
    with pytest.raises(ValueError, match="password"):
        make_credentials(password, ITERATIONS_MIN)


@pytest.mark.parametrize("password", ["a\u0007", "\ud800", "😀"], ids=ascii)
def test_a_client_says_that_a_password_cannot_be_used(password: str) -> None:
    with pytest.raises(ValueError, match="cannot be used to log in"):
        ClientLogin(USER, password)


@pytest.mark.parametrize("iterations", [0, 1, ITERATIONS_MIN - 1, ITERATIONS_MAX + 1])
def test_credentials_that_clients_would_refuse_are_not_made(iterations: int) -> None:
    with pytest.raises(ValueError, match="iteration count"):
        make_credentials(PASSWORD, iterations)


def test_credentials_hold_nothing_that_logs_in() -> None:
    credentials = make_credentials(PASSWORD)
    assert credentials.iterations == ITERATIONS_DEFAULT
    assert make_credentials(PASSWORD).salt != credentials.salt
    with pytest.raises(LoginRefusedError):
        Exchange(USER, credentials.stored_key.hex(), credentials).finish()


def test_nonces_are_new_each_time() -> None:
    firsts = {ClientLogin(USER, PASSWORD).first() for _ in range(50)}
    assert len(firsts) == 50
    challenges = {ServerLogin(USER, CREDENTIALS).first(f"n,,n={USER},r=x".encode()) for _ in range(50)}
    assert len(challenges) == 50


@pytest.mark.parametrize("password", ["", "Correct horse", "correct horse ", "correct"])
def test_a_wrong_password_is_refused(password: str) -> None:
    exchange = Exchange(password=password)
    with pytest.raises(LoginRefusedError):
        exchange.finish()


def test_a_user_who_does_not_exist_looks_like_a_wrong_password() -> None:
    secret = os.urandom(32)
    for user in ("alice", "山田", "x" * 64):
        known = Exchange(user, "wrong", CREDENTIALS)
        unknown = Exchange(user, "wrong", fake_credentials(secret, user, ITERATIONS_MIN))
        assert len(known.server_first) == len(unknown.server_first)
        reasons = []
        for exchange in (known, unknown):
            with pytest.raises(LoginRefusedError) as caught:
                exchange.finish()
            reasons.append(str(caught.value))
        assert reasons[0] == reasons[1]
        assert len(known.client_final) == len(unknown.client_final)


def test_fake_credentials_never_change_for_a_name_and_differ_between_names_and_relays() -> None:
    secret, other = bytes(32), bytes(31) + b"\x01"
    alice = fake_credentials(secret, "alice", 4096)
    assert alice == fake_credentials(secret, "alice", 4096)
    assert alice.salt not in {fake_credentials(secret, "bob", 4096).salt, fake_credentials(other, "alice", 4096).salt}
    assert len({alice.salt, alice.stored_key, alice.server_key}) == 3
    assert [len(part) for part in (alice.salt, alice.stored_key, alice.server_key)] == [
        len(part) for part in (CREDENTIALS.salt, CREDENTIALS.stored_key, CREDENTIALS.server_key)
    ]


FINAL = LOGIN.client_final


@pytest.mark.parametrize(
    "client_final",
    [
        FINAL.replace("c=biws", "c=eSws"),
        FINAL.replace(f"r={LOGIN.client_nonce}", f"r=X{LOGIN.client_nonce}"),
        FINAL.replace(LOGIN.server_nonce, ""),
        FINAL.replace(LOGIN.server_nonce, LOGIN.server_nonce + "X"),
        FINAL.replace(",p=", ",x=1,p="),
        FINAL.partition(",p=")[0],
        FINAL.partition(",p=")[0] + ",p=",
        FINAL.partition(",p=")[0] + ",p=AAAA",
        FINAL.partition(",p=")[0] + ",p=!!!!",
        FINAL + ",p=AAAA",
        "p" + FINAL[1:],
        "",
        ",,,",
        "\x00",
        FINAL.encode().decode() + "\n",
    ],
)
def test_an_altered_proof_is_refused(client_final: str) -> None:
    server = ServerLogin("alice", LOGIN.credentials, nonce=LOGIN.server_nonce)
    server.first(LOGIN.client_first.encode())
    with pytest.raises(LoginRefusedError):
        server.final(client_final.encode())


def test_the_unaltered_proof_would_have_been_accepted() -> None:
    server = ServerLogin("alice", LOGIN.credentials, nonce=LOGIN.server_nonce)
    server.first(LOGIN.client_first.encode())
    assert server.final(LOGIN.client_final.encode()) == LOGIN.server_final.encode()


def test_a_replayed_login_is_refused() -> None:
    exchange = Exchange()
    exchange.finish()
    server = ServerLogin(USER, CREDENTIALS)
    server.first(exchange.client_first)
    with pytest.raises(LoginRefusedError):
        server.final(exchange.client_final)


def test_a_proof_is_good_once() -> None:
    exchange = Exchange()
    exchange.finish()
    with pytest.raises(LoginRefusedError):
        exchange.server.final(exchange.client_final)


def test_a_proof_without_a_beginning_is_refused() -> None:
    with pytest.raises(LoginRefusedError):
        ServerLogin(USER, CREDENTIALS).final(LOGIN.client_final.encode())


@pytest.mark.parametrize(
    "client_first",
    [
        b"",
        b"n,,",
        b"n,,n=alice",
        b"n,,r=abc,n=alice",
        b"n,,n=bob,r=abc",
        b"n,,n=alice,r=",
        b"n,,n=alice,r=a b",
        b"n,,n==alice,r=abc",
        b"n,a=bob,n=alice,r=abc",
        b"p=tls-unique,,n=alice,r=abc",
        b"p=tls-exporter,,n=alice,r=abc",
        b"x,,n=alice,r=abc",
        b"n,,m=1,n=alice,r=abc",
        b"n,,n=alice,r=abc,r=def",
        b"n,,n=alice,r=\xff",
        b"\xff\xfe",
        b"n,,n=alice\x00,r=abc",
    ],
)
def test_a_malformed_beginning_is_refused(client_first: bytes) -> None:
    with pytest.raises(LoginRefusedError):
        ServerLogin("alice", CREDENTIALS).first(client_first)


@given(st.binary(max_size=80), st.binary(max_size=80))
def test_any_bytes_are_an_answer_or_a_refusal(first: bytes, final: bytes) -> None:
    server = ServerLogin("alice", CREDENTIALS)
    for step, message in ((server.first, first), (server.final, final)):
        with suppress(LoginRefusedError):
            step(message)


def server_first(
    nonce: str = CLIENT_NONCE + "x", salt: str = "AAECAwQFBgcICQoLDA0ODw==", iterations: str = "4096"
) -> str:
    return f"r={nonce},s={salt},i={iterations}"


def refused_challenge(message: bytes) -> RemoteError:
    client = ClientLogin(USER, PASSWORD, nonce=CLIENT_NONCE)
    client.first()
    with pytest.raises(RemoteError) as caught:
        client.final(message)
    assert caught.value.code is CloseCode.BAD_PACKET
    return caught.value


def test_the_challenge_that_the_next_tests_alter_is_accepted() -> None:
    client = ClientLogin(USER, PASSWORD, nonce=CLIENT_NONCE)
    client.first()
    assert client.final(server_first().encode()).startswith(b"c=biws,r=clientnoncex,p=")


@pytest.mark.parametrize(
    "nonce", ["", "other", CLIENT_NONCE, CLIENT_NONCE[:-1] + "x", "x" + CLIENT_NONCE, CLIENT_NONCE.upper() + "x"]
)
def test_a_nonce_that_does_not_extend_ours_is_refused(nonce: str) -> None:
    refused_challenge(server_first(nonce=nonce).encode())


@pytest.mark.parametrize(
    "iterations", ["0", "1", str(ITERATIONS_MIN - 1), str(ITERATIONS_MAX + 1), "4294967296", "9" * 10]
)
def test_an_iteration_count_outside_the_bounds_is_refused_without_work(iterations: str) -> None:
    error = refused_challenge(server_first(iterations=iterations).encode())
    assert "malformed" in error.sentence or iterations in error.sentence


@pytest.mark.parametrize("iterations", ["", "04096", "+4096", "4096.0", "4e3", "-4096", "４０９６", "9" * 11])
def test_an_iteration_count_that_is_no_number_is_refused(iterations: str) -> None:
    refused_challenge(server_first(iterations=iterations).encode())


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"e=unknown-user",
        b"r=" + CLIENT_NONCE.encode() + b"x",
        server_first(salt="").encode(),
        server_first(salt="AAAA").encode(),
        server_first(salt="====").encode(),
        b"m=ext," + server_first().encode(),
        server_first().encode() + b",m=ext",
        server_first().encode() + b",i=4097",
        server_first(nonce=CLIENT_NONCE + "\x7f").encode(),
        server_first(nonce=CLIENT_NONCE + "é").encode(),
        server_first().encode() + b"\n",
        b"\xff" * 40,
    ],
)
def test_a_malformed_challenge_is_refused(message: bytes) -> None:
    refused_challenge(message)


def test_extensions_behind_the_iteration_count_are_ignored() -> None:
    client = ClientLogin(USER, PASSWORD, nonce=CLIENT_NONCE)
    client.first()
    assert client.final(server_first().encode() + b",x=later").startswith(b"c=biws,")


@given(st.binary(max_size=80))
def test_any_challenge_is_answered_or_refused(tail: bytes) -> None:
    for message in (tail, server_first().encode()[:-4] + tail):
        client = ClientLogin(USER, PASSWORD, nonce=CLIENT_NONCE)
        client.first()
        with suppress(RemoteError):
            client.final(message)


@pytest.mark.parametrize(
    "server_final",
    [
        b"",
        b"v=",
        b"v=AAAA",
        b"v=!!!",
        b"e=other-error",
        b"e=nonsense",
        b"x=1",
        b"v=" + base64.b64encode(bytes(32)),
        b"v=" + base64.b64encode(bytes(31)),
        b"\xff",
        b"m=1,v=" + base64.b64encode(bytes(32)),
    ],
)
def test_a_relay_that_cannot_prove_itself_is_refused(server_final: bytes) -> None:
    exchange = Exchange()
    exchange.client.final(exchange.server_first)
    with pytest.raises(RemoteError) as caught:
        exchange.client.check(server_final)
    assert caught.value.code is CloseCode.LOGIN_FAILED


def test_a_proof_of_an_earlier_login_does_not_prove_the_relay() -> None:
    earlier = Exchange()
    earlier.finish()
    later = ClientLogin(USER, PASSWORD, nonce="another")
    server = ServerLogin(USER, CREDENTIALS, nonce=SERVER_NONCE)
    later.final(server.first(later.first()))
    with pytest.raises(RemoteError):
        later.check(earlier.server_final)


@pytest.mark.parametrize("steps", [0, 1])
def test_a_proof_that_comes_too_early_is_refused(steps: int) -> None:
    """A relay that skips the challenge has proved nothing, whatever it sends."""
    exchange = Exchange()
    exchange.finish()
    client = ClientLogin(USER, PASSWORD, nonce=CLIENT_NONCE)
    if steps:
        client.first()
    with pytest.raises(RemoteError):
        client.check(exchange.server_final)


def test_a_relay_that_knows_no_key_cannot_make_a_client_believe_it() -> None:
    impostor = ServerLogin(USER, make_credentials("guess", ITERATIONS_MIN))
    client = ClientLogin(USER, PASSWORD)
    proof = client.final(impostor.first(client.first()))
    with pytest.raises(LoginRefusedError):
        impostor.final(proof)


def test_secrets_do_not_appear_in_refusals() -> None:
    exchange = Exchange(password="a wrong secret")
    with pytest.raises(LoginRefusedError) as caught:
        exchange.finish()
    assert "secret" not in str(caught.value)
