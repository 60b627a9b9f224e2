"""The states of a connection and which packet may arrive in which: a table, where what is missing is not allowed."""

from enum import Enum

from relay.protocol.codes import CloseCode
from relay.protocol.errors import RemoteError
from relay.protocol.packets import (
    Accept,
    Ack,
    Call,
    Challenge,
    Close,
    Credit,
    Data,
    Delivery,
    Error,
    Fault,
    Finish,
    Gap,
    Hello,
    Message,
    Open,
    Packet,
    Ping,
    Pong,
    Proof,
    Reset,
    Result,
    Signal,
    Stored,
    StoredRun,
    Unknown,
    Welcome,
    name_of,
)


class State(Enum):
    """Where a connection stands, seen from either side."""

    GREETING = "waiting for HELLO"
    CHALLENGED = "login under way"
    PROVED = "login complete, WELCOME not sent yet"
    OPEN = "open"
    CLOSED = "closed"


# What the relay accepts from a client, and the state that follows.
FROM_CLIENT: dict[tuple[State, type[Packet]], State] = {
    (State.GREETING, Hello): State.CHALLENGED,
    (State.GREETING, Close): State.CLOSED,
    (State.CHALLENGED, Proof): State.PROVED,
    (State.CHALLENGED, Close): State.CLOSED,
    (State.OPEN, Ping): State.OPEN,
    (State.OPEN, Pong): State.OPEN,
    (State.OPEN, Close): State.CLOSED,
    (State.OPEN, Signal): State.OPEN,
    (State.OPEN, Message): State.OPEN,
    (State.OPEN, Ack): State.OPEN,
    (State.OPEN, Call): State.OPEN,
    (State.OPEN, Result): State.OPEN,
    (State.OPEN, Fault): State.OPEN,
    (State.OPEN, Open): State.OPEN,
    (State.OPEN, Accept): State.OPEN,
    (State.OPEN, Data): State.OPEN,
    (State.OPEN, Credit): State.OPEN,
    (State.OPEN, Finish): State.OPEN,
    (State.OPEN, Reset): State.OPEN,
}

# What a client accepts from the relay, and the state that follows. GREETING: the HELLO is under way.
FROM_RELAY: dict[tuple[State, type[Packet]], State] = {
    (State.GREETING, Challenge): State.CHALLENGED,
    (State.GREETING, Welcome): State.OPEN,
    (State.GREETING, Close): State.CLOSED,
    (State.CHALLENGED, Welcome): State.OPEN,
    (State.CHALLENGED, Close): State.CLOSED,
    (State.OPEN, Ping): State.OPEN,
    (State.OPEN, Pong): State.OPEN,
    (State.OPEN, Close): State.CLOSED,
    (State.OPEN, Error): State.OPEN,
    (State.OPEN, Signal): State.OPEN,
    (State.OPEN, Stored): State.OPEN,
    (State.OPEN, Delivery): State.OPEN,
    (State.OPEN, StoredRun): State.OPEN,
    (State.OPEN, Gap): State.OPEN,
    (State.OPEN, Call): State.OPEN,
    (State.OPEN, Result): State.OPEN,
    (State.OPEN, Fault): State.OPEN,
    (State.OPEN, Open): State.OPEN,
    (State.OPEN, Accept): State.OPEN,
    (State.OPEN, Data): State.OPEN,
    (State.OPEN, Credit): State.OPEN,
    (State.OPEN, Finish): State.OPEN,
    (State.OPEN, Reset): State.OPEN,
}


def next_state(table: dict[tuple[State, type[Packet]], State], state: State, packet: Packet | Unknown) -> State:
    """The state after `packet`. Raises RemoteError if it may not arrive now; an Unknown may, once OPEN."""
    if isinstance(packet, Unknown):
        if state is State.OPEN:
            return state
        raise RemoteError(CloseCode.NOT_ALLOWED_NOW, f"packet type {packet.number} is not allowed before login")
    following = table.get((state, type(packet)))
    if following is None:
        raise RemoteError(
            CloseCode.NOT_ALLOWED_NOW,
            f"a {name_of(type(packet))} packet is not allowed from this side while the connection is: {state.value}",
        )
    return following
