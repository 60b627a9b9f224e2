"""A short run of the fuzzer, and proof that it notices what it looks for."""

import random

import pytest

from relay.protocol.connection import ClientConnection, ServerConnection
from relay.protocol.packets import Hello, Message, Ping, encode
from relay.protocol.states import FROM_CLIENT, FROM_RELAY, State
from tests.protocol import fuzz
from tests.protocol.fuzz import BrokenError, check_said, mutate, pieces, run


def test_connections_stand_whatever_comes() -> None:
    outcomes = run(count=300, seed=1)
    for attack, states in {
        "attack_relay": {State.GREETING, State.CHALLENGED, State.OPEN, State.CLOSED},
        "attack_client": {State.GREETING, State.CHALLENGED, State.OPEN, State.CLOSED},
    }.items():
        assert {f"{attack}: {state.value}" for state in states} <= set(outcomes), "the fuzzer does not get everywhere"
    assert outcomes["decode_spoiled: decoded"] > 10
    assert outcomes["decode_spoiled: refused"] > 10


def test_a_seed_repeats_its_run() -> None:
    data = bytes(range(50))
    assert mutate(random.Random(7), data) == mutate(random.Random(7), data) != data
    assert list(pieces(random.Random(7), data)) == list(pieces(random.Random(7), data))
    assert b"".join(pieces(random.Random(8), data)) == data


@pytest.mark.parametrize(
    ("said", "gave_up"),
    [
        (encode(Ping(1))[:-1], False),
        (encode(Hello(1, 1, "a", "b", "c", b"", "")), False),
        (encode(Ping(1)), True),
    ],
)
def test_the_fuzzer_notices_what_an_end_should_not_say(said: bytes, gave_up: bool) -> None:
    with pytest.raises(BrokenError):
        check_said(ServerConnection(), said, FROM_RELAY, gave_up)


def test_the_fuzzer_notices_a_client_that_goes_on_after_its_close() -> None:
    client = ClientConnection("a", "b", "c", "")
    client.data_to_send()
    client.close(4000, "bye")  # type: ignore[arg-type]
    said = client.data_to_send() + encode(Message("a/b", "c", 1, "", b""))
    with pytest.raises(BrokenError, match="after its CLOSE"):
        check_said(client, said, FROM_CLIENT, gave_up=False)


def test_the_fuzzer_notices_any_other_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(rng: random.Random) -> str:
        raise KeyError("v")

    monkeypatch.setattr(fuzz, "ATTACKS", [broken])
    with pytest.raises(BrokenError, match="broken 5: KeyError"):
        run(count=1, seed=5)
