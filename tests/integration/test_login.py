"""Logging in, and failing to: what an attacker can send, see and learn, and what that costs everybody else."""

import base64
from typing import NamedTuple

import pytest

from relay.protocol.codes import CloseCode
from relay.protocol.packets import Challenge, Close, Hello, Proof, Signal, Welcome, decode
from relay.protocol.scram import MECHANISM, ClientLogin
from tests.integration.peer import PASSWORD, Peer, eventually
from tests.integration.stage import Stage
from tests.process import run

REFUSED = Close(CloseCode.LOGIN_FAILED, "the user name or the password is wrong", None)


class Exchange(NamedTuple):
    """The client's side of one login, ready to be altered: client-first, and client-final for the challenge."""

    first: bytes
    final: bytes
    challenge: bytes


def begin(peer: Peer, user: str, password: str = PASSWORD) -> Exchange:
    """Send HELLO and compute the proof; nothing more is sent."""
    login = ClientLogin(user, password)
    first = login.first()
    peer.send(Hello(1, 1, user, "device", MECHANISM, first, "test/1"))
    challenge = peer.expect(Challenge).data
    return Exchange(first, login.final(challenge), challenge)


def flip(data: bytes, position: int) -> bytes:
    """The bytes with another character at `position`."""
    return data[:position] + (b"B" if data[position : position + 1] == b"A" else b"A") + data[position + 1 :]


def test_a_login_is_mutual_and_says_who_one_is(stage: Stage) -> None:
    user = stage.user()
    peer = stage.connect()
    welcome = peer.log_in(user, "laptop")
    assert (welcome.version, welcome.session, welcome.last_message_id) == (1, f"{user}/laptop", 0)
    assert (welcome.keepalive_ms, welcome.frame_max) == (25_000, 1024 * 1024)
    peer.alive()


def test_what_follows_the_proof_at_once_is_not_lost(stage: Stage) -> None:
    """Not allowed by the letter, but a client that sends it must not see bytes vanish."""
    user = stage.user()
    peer = stage.connect()
    exchange = begin(peer, user)
    peer.send(Proof(exchange.final), Signal(f"{user}/device", f"{user}/device", None, "", b"early"))
    peer.expect(Welcome)
    assert peer.expect(Signal).body == b"early"


def test_a_replayed_login_fails(stage: Stage) -> None:
    user = stage.user()
    first = stage.connect()
    login = ClientLogin(user, PASSWORD)
    hello = Hello(1, 1, user, "device", MECHANISM, login.first(), "test/1")
    first.send(hello)
    proof = Proof(login.final(first.expect(Challenge).data))
    first.send(proof)
    first.expect(Welcome)
    second = stage.connect()
    second.send(hello)
    assert second.expect(Challenge).data != first.payloads[0]
    second.send(proof)
    assert second.closing() == REFUSED
    stage.one_log_line(second, "WARNING", f"login as '{user}' failed")


def alterations(exchange: Exchange) -> dict[str, bytes]:
    """Client-final messages that are not the right one."""
    final = exchange.final
    without_proof, _, proof = final.rpartition(b",p=")
    nonce = without_proof.partition(b",r=")[2]
    client_nonce = exchange.first.partition(b",r=")[2]
    return {
        "another proof": flip(final, final.index(b",p=") + 5),
        "another server nonce": flip(final, len(without_proof) - 1),
        "another client nonce": flip(final, final.index(b"r=") + 3),
        "only the client's nonce": final.replace(nonce, client_nonce),
        "no nonce": final.replace(nonce, b""),
        "a longer nonce": final.replace(nonce, nonce + b"x"),
        "another channel binding": final.replace(b"c=biws", b"c=eSws"),
        "a channel binding that is no base64": final.replace(b"c=biws", b"c=!!!"),
        "no channel binding": final.removeprefix(b"c=biws,"),
        "no proof": without_proof,
        "an empty proof": without_proof + b",p=",
        "a short proof": without_proof + b",p=" + base64.b64encode(b"x"),
        "a long proof": without_proof + b",p=" + base64.b64encode(b"x" * 1000),
        "zeros for a proof": without_proof + b",p=" + base64.b64encode(bytes(32)),
        "a proof that is no base64": without_proof + b",p=!" + proof[1:],
        "a proof with a piece missing": final[:-1],
        "the proof twice": final + b",p=" + proof,
        "an extension": b"m=x," + final,
        "nothing": b"",
        "commas": b"," * 1000,
        "equals signs": b"=" * 1000,
        "zeros": bytes(1000),
        "no UTF-8": b"\xff\xfe" * 100,
        "the client's first message": exchange.first,
        "the relay's message": exchange.challenge,
        "the longest message": b"c=biws,r=" + b"x" * 4000,
    }


ALTERATIONS = list(alterations(Exchange(b"n,,n=a,r=abc", b"c=biws,r=abcdef,p=AAAA", b"r=abcdef,s=AAAA,i=4096")))


@pytest.mark.parametrize("alteration", ALTERATIONS)
def test_an_altered_proof_fails(stage: Stage, alteration: str) -> None:
    user = stage.user()
    peer = stage.connect()
    exchange = begin(peer, user)
    altered = alterations(exchange)[alteration]
    assert altered != exchange.final
    peer.send(Proof(altered))
    assert peer.closing() == REFUSED
    stage.one_log_line(peer, "WARNING", f"login as '{user}' failed")


FIRST_MESSAGES = {
    "another user": b"n,,n=somebody,r=0123456789abcdefghijklmn",
    "no user": b"n,,n=,r=0123456789abcdefghijklmn",
    "no nonce": b"n,,n=USER,r=",
    "no fields": b"n,,",
    "nothing": b"",
    "a comma": b",",
    "only a user": b"n,,n=USER",
    "channel binding": b"p=tls-server-end-point,,n=USER,r=0123456789abcdefghijklmn",
    "an unknown channel binding": b"p=,,n=USER,r=0123456789abcdefghijklmn",
    "another identity": b"n,a=admin,n=USER,r=0123456789abcdefghijklmn",
    "an unknown flag": b"z,,n=USER,r=0123456789abcdefghijklmn",
    "a mandatory extension": b"n,,m=x,n=USER,r=0123456789abcdefghijklmn",
    "an escape that is none": b"n,,n=USER=2X,r=0123456789abcdefghijklmn",
    "no UTF-8": b"n,,n=\xff\xfe,r=0123456789abcdefghijklmn",
    "zeros": bytes(100),
    "equals signs": b"=" * 100,
    "fields without names": b"n,,,,,,,",
    "the user twice": b"n,,n=USER,n=USER,r=0123456789abcdefghijklmn",
    "a name SASLprep refuses": "n,,n=USER\u06dd,r=0123456789abcdefghijklmn".encode(),
}


@pytest.mark.parametrize("message", FIRST_MESSAGES.values(), ids=FIRST_MESSAGES)
def test_a_malformed_first_message_fails_sooner_or_later(stage: Stage, message: bytes) -> None:
    """Some of these are SCRAM's to accept: then there is a challenge, but no proof can follow."""
    user = stage.user()
    peer = stage.connect()
    peer.send(Hello(1, 1, user, "device", MECHANISM, message.replace(b"USER", user.encode()), ""))
    answer = peer.packet()
    if isinstance(answer, Challenge):
        peer.send(Proof(b"c=biws,r=0123456789abcdefghijklmn,p=" + base64.b64encode(bytes(32))))
        answer = peer.packet()
    assert answer == REFUSED
    peer.await_end()
    stage.one_log_line(peer, "WARNING", f"login as '{user}' failed")


def shape(payload: bytes) -> tuple[object, ...]:
    """What tells one payload from another of its kind: everything but nonces and salts, of which only the length."""
    packet = decode(payload)
    if isinstance(packet, Challenge):
        nonce, salt, iterations = (field[2:] for field in packet.data.split(b",", 2))
        return (len(payload), packet.version, len(nonce), len(base64.b64decode(salt)), iterations)
    return (payload,)


def transcript(stage: Stage, user: str, password: str) -> list[tuple[object, ...]]:
    """Everything the relay says in a failed login."""
    peer = stage.connect(stage.relay.source())
    peer.send(Proof(begin(peer, user, password).final))
    peer.closing()
    return [shape(payload) for payload in peer.payloads]


def command(stage: Stage, *words: str, stdin: bytes = b"") -> None:
    done = run("user", *words, "--data", str(stage.relay.data), home=stage.relay.home, stdin=stdin)
    assert done.returncode == 0, done.stderr


def test_unknown_disabled_and_wrong_look_the_same(stage: Stage) -> None:
    wrong, disabled = stage.user(), stage.user()
    unknown = wrong[:-1] + "x"
    command(stage, "disable", disabled)
    seen = [
        transcript(stage, wrong, "not the password"),
        transcript(stage, unknown, PASSWORD),
        transcript(stage, disabled, PASSWORD),
        transcript(stage, disabled, "not the password"),
    ]
    assert [len(steps) for steps in seen] == [2] * 4
    assert seen[1:] == seen[:1] * 3


def test_a_made_up_salt_is_always_the_same(stage: Stage) -> None:
    """Otherwise asking twice would tell who does not exist."""

    def salt(user: str) -> bytes:
        return stage.connect().hello(ClientLogin(user, PASSWORD), user).data.split(b",")[1]

    assert salt("nobody") == salt("nobody")
    assert salt("nobody") != salt("nobody-else")
    known = stage.user()
    assert salt(known) == salt(known)


def test_failures_delay_the_next_failure_and_nobody_else(stage: Stage) -> None:
    """The answers to guesses at one account come later and later, wherever they come from; its owner waits for none."""
    victim = stage.user()
    inside = stage.session(victim, "inside")
    attackers = [stage.connect(stage.relay.source()) for _ in range(4)]
    for peer in attackers:
        peer.send(Proof(begin(peer, victim, "guess").final))
        stage.one_log_line(peer, "WARNING", f"login as '{victim}' failed")
    owner = stage.connect(stage.relay.source())
    owner.log_in(victim, "outside")
    owner.alive()
    inside.alive()
    assert [peer.closing() for peer in attackers] == [REFUSED] * 4


def test_guesses_made_together_wait_for_each_other(stage: Stage) -> None:
    victim = stage.user()
    attackers = [stage.connect() for _ in range(4)]
    exchanges = [begin(peer, victim, "guess") for peer in attackers]
    for peer, exchange in zip(attackers, exchanges, strict=True):
        peer.send(Proof(exchange.final))
    eventually(lambda: any(peer.has_news() for peer in attackers), lambda: "an answer to a guess")
    stage.connect(stage.relay.source()).log_in(victim)
    assert [peer.closing() for peer in attackers] == [REFUSED] * 4


def test_the_same_device_again_replaces_the_older_session(stage: Stage) -> None:
    user, other = stage.user(), stage.session()
    older = stage.session(user, "laptop")
    phone = stage.session(user, "phone")
    newer = stage.session(user, "laptop")
    close = older.closing()
    assert (close.code, close.retry_ms) == (CloseCode.REPLACED, None)
    assert newer.address in close.sentence
    other.signal(newer.address, b"to the newer one")
    assert newer.expect(Signal).body == b"to the newer one"
    phone.alive()


def test_many_logins_of_one_device_leave_one_session(stage: Stage) -> None:
    user = stage.user()
    peers = [stage.session(user) for _ in range(20)]
    assert {peer.closing().code for peer in peers[:-1]} == {CloseCode.REPLACED}
    peers[-1].alive()


@pytest.mark.parametrize(
    "words", [("disable",), ("remove", "--yes"), ("password", "--password-stdin")], ids=lambda w: w[0]
)
def test_a_change_of_the_account_ends_its_sessions(stage: Stage, words: tuple[str, ...]) -> None:
    user, other = stage.user(), stage.session()
    peers = [stage.session(user, device) for device in ("laptop", "phone")]
    verb, *flags = words
    command(stage, verb, user, *flags, stdin=b"another\n")
    for peer in peers:
        close = peer.closing()
        assert (close.code, close.retry_ms) == (CloseCode.ACCOUNT_ENDED, None)
        assert close.sentence
    assert transcript(stage, user, PASSWORD)[-1] == transcript(stage, "nobody", PASSWORD)[-1]
    other.alive()


def test_a_disabled_user_comes_back_when_enabled(stage: Stage) -> None:
    user, other = stage.user(), stage.session()
    command(stage, "disable", user)
    other.store(user, 1, b"meanwhile")
    command(stage, "enable", user)
    peer = stage.session(user)
    peer.receive_messages()
    assert b"meanwhile" in peer.expect_delivery().packet


def test_a_new_account_can_log_in_at_once(stage: Stage) -> None:
    command(stage, "add", "newcomer", "--password-stdin", stdin=b"secret\n")
    stage.session("newcomer").alive()
