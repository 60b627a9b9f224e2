"""Test tool: a handshake that clients knock at, over socket pairs."""

from collections.abc import Callable
from itertools import count

import gevent
from gevent import socket

from relay.auth.authenticator import Admit, Authenticator, Decision
from relay.auth.throttle import Throttle
from relay.auth.tickets import Tickets
from relay.protocol.connection import ClientConnection
from relay.protocol.packets import Challenge, Close, Hello, Packet, Unknown
from relay.protocol.scram import ITERATIONS_MIN, make_credentials
from relay.session.handshake import Handshake, Terms
from relay.session.registry import Registry
from relay.store.base import Account, HeldTicket, StoreFullError
from relay.store.memory import MemoryStore
from tests.loop import deadline, until
from tests.session.wire import Client, Wire

ALICE = make_credentials("wonderland", ITERATIONS_MIN)


class DiskOrNot(MemoryStore):
    """A store that is `full`, or not: then no ticket can be held."""

    full = False

    def hold_ticket(self, user: str, device: str, login_key: bytes, ticket: HeldTicket) -> bool:
        if self.full:
            raise StoreFullError("no room on the disk")
        return super().hold_ticket(user, device, login_key, ticket)


class Gate:
    """A handshake with a registry and a throttle of its own; `knock` is a client that connects."""

    def __init__(
        self,
        wire: Wire,
        *,
        timeout_s: float = 20.0,
        delay_max_s: float = 0.0,
        connections_max: int = 10,
        at_once_max: int = 10,
        wait_max_s: float = 20.0,
    ) -> None:
        self.wire = wire
        self.registry = Registry(connections_max, 10, (25, 10), 30)
        self.throttle = Throttle(delay_max_s)
        self.accounts: dict[str, Account] = {}
        for name, credentials, disabled in (("alice", ALICE, False), ("gone", ALICE, True)):
            self.accounts[name] = Account(name, credentials, name == "bot", disabled, 0)
        self.prepare: Callable[[str, str], int] = lambda user, device: 41
        self.store = DiskOrNot()
        for account in self.accounts.values():
            self.store.add_account(account.name, account.credentials, account.bot, 0)
        self.now_ms = 1_000_000
        self.tickets = Tickets(bytes(32), 60)
        self.look_up: Callable[[str], Account | None] = self.accounts.get
        self.surroundings = wire.surroundings._replace(on_gone=self._forget)
        self.handshake = Handshake(
            Terms(timeout_s, at_once_max, wait_max_s, 25_000, "relay/test", "g1"),
            self.registry,
            Authenticator(self._look_up, bytes(32), ITERATIONS_MIN, self.tickets, lambda: self.now_ms),
            self.throttle,
            self._prepare,
            self.surroundings,
        )
        self.greenlets: list[gevent.Greenlet] = []
        self.clients: list[Client] = []
        self._ports = count(1000)

    def knock(self, host: str = "10.0.0.1") -> Client:
        ours, theirs = socket.socketpair()
        self.greenlets.append(gevent.spawn(self.handshake, ours, f"{host}:{next(self._ports)}"))
        self.clients.append(Client(theirs))
        return self.clients[-1]

    def login(
        self, user: str = "alice", password: str = "wonderland", device: str = "phone", host: str = "10.0.0.1"
    ) -> tuple[Client, Packet | Unknown]:
        """The exchange up to WELCOME or CLOSE."""
        client, ends = self.knock(host), ClientConnection(user, password, device, "test/1")
        with deadline("the login"):
            while True:
                client.sock.sendall(ends.data_to_send())
                data = client.sock.recv(4096)
                assert data, "the connection was closed without a word"
                ends.receive_data(data)
                packet = ends.next_packet()
                if packet is not None:
                    client.unread(ends._frames.take_rest())
                    return client, packet

    def refusal(self, **login: str) -> Close:
        client, close = self.login(**login)
        assert isinstance(close, Close)
        client.close()
        return close

    def until_empty(self) -> None:
        until(lambda: self.registry.connections == 0, f"the end of {self.registry}")
        assert len(self.registry) == 0

    def close(self) -> None:
        for client in self.clients:
            client.close()
        gevent.killall(self.greenlets)
        self.registry.abort()

    def _look_up(self, name: str) -> Account | None:
        return self.look_up(name)

    def _prepare(self, user: str, device: str, admit: Admit | None) -> tuple[int, Decision | None]:
        decision = admit(self.store) if admit else None
        return self.prepare(user, device), decision

    def _forget(self, session: object) -> None:
        self.registry.discard(session)  # type: ignore[arg-type]
        self.registry.release("10.0.0.1")


def hello(**fields: object) -> Hello:
    packet = Hello(1, 1, "alice", "phone", "SCRAM-SHA-256", b"n,,n=alice,r=abcdefghijklmnopqrstuvwx", "test/1")
    return packet._replace(**fields)


def raw(gate: Gate, *data: Packet | bytes) -> Close:
    """What the relay says to these bytes, up to the end of the stream."""
    client = gate.knock()
    client.send(*data)
    *rest, close = client.rest()
    assert all(isinstance(packet, Challenge) for packet in rest)
    assert isinstance(close, Close)
    assert close.sentence
    client.close()
    gate.until_empty()
    return close
