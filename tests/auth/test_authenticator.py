"""Deciding a login, with both ends of the exchange in memory."""

from collections import Counter

import pytest

from relay.auth.authenticator import Authenticator
from relay.auth.tickets import Tickets
from relay.protocol.connection import ClientConnection, ServerConnection
from relay.protocol.packets import Challenge, Hello, Proof, decode
from relay.protocol.scram import ITERATIONS_MIN, LoginRefusedError, make_credentials
from relay.store.base import Account

SECRET = bytes(range(32))
ALICE = Account("alice", make_credentials("wonderland", ITERATIONS_MIN), False, False, 0)
MALLORY = Account("mallory", make_credentials("wonderland", ITERATIONS_MIN), False, True, 0)
NOW_MS = 1_000_000
ACCOUNTS = {account.name: account for account in (ALICE, MALLORY)}


def authenticator(secret: bytes = SECRET) -> Authenticator:
    return Authenticator(ACCOUNTS.get, secret, ITERATIONS_MIN, Tickets(secret, 60), lambda: NOW_MS)


class Attempt:
    """One login under way."""

    def __init__(self, user: str, password: str, guard: Authenticator | None = None) -> None:
        self.guard = guard or authenticator()
        self.client = ClientConnection(user, password, "phone", "test/1")
        self.server = ServerConnection()
        self.server.receive_data(self.client.data_to_send())
        hello = self.server.next_packet()
        assert isinstance(hello, Hello)
        self.account = self.guard.challenge(self.server, hello)
        self.challenge_bytes = self.server.data_to_send()

    def prove(self) -> bytes:
        self.client.receive_data(self.challenge_bytes)
        assert self.client.next_packet() is None
        self.server.receive_data(self.client.data_to_send())
        proof = self.server.next_packet()
        assert isinstance(proof, Proof)
        return self.guard.prove(self.server, self.account, proof)

    @property
    def challenge(self) -> dict[str, str]:
        packet = decode(self.challenge_bytes[4:])
        assert isinstance(packet, Challenge)
        return dict(part.split("=", 1) for part in packet.data.decode().split(","))  # type: ignore[misc]


def test_the_right_password_opens_the_account() -> None:
    attempt = Attempt("alice", "wonderland")
    assert attempt.prove().startswith(b"v=")
    assert attempt.account == ALICE


@pytest.mark.parametrize(
    ("user", "password"), [("alice", "wrong"), ("nobody", "wonderland"), ("mallory", "wonderland"), ("mallory", "bad")]
)
def test_everything_else_is_refused_at_the_proof_and_not_before(user: str, password: str) -> None:
    attempt = Attempt(user, password)
    with pytest.raises(LoginRefusedError):
        attempt.prove()


def test_unknown_and_disabled_users_are_not_told_from_others() -> None:
    shapes = []
    for user in ("alice", "nobody", "mallory"):
        first, second = Attempt(user, "x").challenge, Attempt(user, "x").challenge
        assert first["s"] == second["s"]
        assert first["r"] != second["r"]
        shapes.append((sorted(first), len(first["s"]), first["i"], len(Attempt(user, "x").challenge_bytes)))
    assert shapes[0] == shapes[1] == shapes[2]


def test_a_made_up_salt_is_a_secret_of_this_relay() -> None:
    here = Attempt("nobody", "x").challenge["s"]
    elsewhere = Attempt("nobody", "x", authenticator(bytes(32))).challenge["s"]
    assert here != elsewhere
    assert Attempt("somebody", "x").challenge["s"] != here


def test_a_malformed_scram_message_is_a_refused_login() -> None:
    server = ServerConnection()
    server.receive_data(ClientConnection("alice", "x", "phone", "test/1").data_to_send())
    hello = server.next_packet()
    assert isinstance(hello, Hello)
    with pytest.raises(LoginRefusedError):
        authenticator().challenge(server, hello._replace(data=b"not SCRAM"))


@pytest.mark.parametrize("shares", [{4096: 1}, {4096: 30, 16384: 70}, {4096: 1, 10_000: 1, 16384: 1}])
def test_unknown_users_have_iteration_counts_as_real_ones_have(shares: dict[int, int]) -> None:
    guard = authenticator()
    guard.resemble(shares)
    names = [f"nobody{number}" for number in range(400)]
    counts = Counter(int(Attempt(name, "x", guard).challenge["i"]) for name in names)
    assert set(counts) == set(shares)
    for count, share in shares.items():
        assert counts[count] / 400 == pytest.approx(share / sum(shares.values()), abs=0.1)
    assert Attempt(names[0], "x", guard).challenge["i"] == Attempt(names[0], "y", guard).challenge["i"]


def test_when_people_move_to_a_higher_count_nobody_moves_down() -> None:
    guard, names = authenticator(), [f"nobody{number}" for number in range(50)]
    before = [4096] * len(names)
    for moved in (0, 20, 60, 100):
        guard.resemble({4096: 100 - moved, 16384: moved})
        now = [int(Attempt(name, "x", guard).challenge["i"]) for name in names]
        assert all(new >= old for new, old in zip(now, before, strict=True))
        before = now
    assert set(before) == {16384}


def test_made_up_credentials_never_open_anything_even_if_they_were_proven() -> None:
    attempt = Attempt("alice", "wonderland")
    attempt.account = None
    with pytest.raises(LoginRefusedError, match="made-up"):
        attempt.prove()
