"""Hypothesis strategies for packets, made from the packets' own declarations."""

from types import NoneType
from typing import Any, get_args, get_type_hints

from hypothesis import strategies as st

from relay.protocol.limits import INTEGER_MAX
from relay.protocol.packets import PACKETS, Packet
from relay.protocol.states import FROM_CLIENT, FROM_RELAY, State

integers = st.one_of(
    st.integers(0, INTEGER_MAX), st.sampled_from([0, 127, 128, 255, 256, 2**16, 2**32 - 1, 2**32, INTEGER_MAX])
)
# Surrogates are not characters: UTF-8 cannot say them.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
binaries = st.one_of(st.binary(max_size=40), st.integers(0, 5000).map(bytes))
scalars = st.one_of(integers, texts, binaries, st.booleans(), st.none())

_OF_TYPE: dict[Any, st.SearchStrategy[Any]] = {int: integers, str: texts, bytes: binaries, NoneType: st.none()}


def packets_of(kind: type[Packet]) -> st.SearchStrategy[Packet]:
    """Packets of one type with any values the wire allows."""
    hints = get_type_hints(kind)
    fields = [st.one_of([_OF_TYPE[k] for k in get_args(hints[name]) or (hints[name],)]) for name in kind._fields]
    return st.tuples(*fields).map(lambda values: kind(*values))


packets = st.one_of([packets_of(kind) for kind in PACKETS.values()])


def _open_kinds(table: dict[tuple[State, type[Packet]], State]) -> list[type[Packet]]:
    return [kind for (state, kind), following in table.items() if state is following is State.OPEN]


packets_from_client = st.one_of([packets_of(kind) for kind in _open_kinds(FROM_CLIENT)])
packets_from_relay = st.one_of([packets_of(kind) for kind in _open_kinds(FROM_RELAY)])
