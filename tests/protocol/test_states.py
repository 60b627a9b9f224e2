"""The state tables: what is listed moves on, everything else is refused, and nothing leads back."""

import pytest

from relay.protocol.codes import CloseCode
from relay.protocol.errors import RemoteError
from relay.protocol.packets import NUMBERS, Close, Packet, Unknown, name_of
from relay.protocol.states import FROM_CLIENT, FROM_RELAY, State, next_state
from tests.protocol.examples import EXAMPLES

TABLES = {"from client": FROM_CLIENT, "from relay": FROM_RELAY}
ORDER = [State.GREETING, State.CHALLENGED, State.PROVED, State.OPEN, State.CLOSED]


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("kind", NUMBERS, ids=name_of)
def test_a_packet_moves_on_or_is_refused(
    table: dict[tuple[State, type[Packet]], State], state: State, kind: type[Packet]
) -> None:
    packet = EXAMPLES[name_of(kind)]
    if (state, kind) in table:
        assert next_state(table, state, packet) is table[state, kind]
        return
    with pytest.raises(RemoteError, match=f"a {name_of(kind)} packet is not allowed") as caught:
        next_state(table, state, packet)
    assert caught.value.code is CloseCode.NOT_ALLOWED_NOW


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_no_packet_leads_back(table: dict[tuple[State, type[Packet]], State]) -> None:
    for (state, kind), following in table.items():
        assert ORDER.index(following) >= ORDER.index(state)
        assert (following is State.CLOSED) is (kind is Close)


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_nothing_is_allowed_once_closed(table: dict[tuple[State, type[Packet]], State]) -> None:
    assert State.CLOSED not in {state for state, _ in table}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
@pytest.mark.parametrize("state", State)
def test_unknown_packets_are_for_open_connections(table: dict[tuple[State, type[Packet]], State], state: State) -> None:
    if state is State.OPEN:
        assert next_state(table, state, Unknown(40, 1)) is State.OPEN
        return
    with pytest.raises(RemoteError, match="packet type 40") as caught:
        next_state(table, state, Unknown(40, 1))
    assert caught.value.code is CloseCode.NOT_ALLOWED_NOW


def test_every_packet_may_be_sent_by_somebody() -> None:
    assert {kind for table in TABLES.values() for _, kind in table} == set(NUMBERS)
