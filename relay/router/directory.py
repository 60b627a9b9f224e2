"""The directory of live sessions: by address, by user, and as routes for verbatim forwarding.

A route is found once by the bytes of an address as they stand in a packet, and then kept by its users: it is the same
object for as long as anybody listens there, and empty afterwards.
"""

from collections import Counter
from collections.abc import Iterable

import msgpack

from relay.protocol.codes import CloseCode
from relay.router.subscriber import Outlet, Subscriber


def address_bytes(address: str) -> bytes:
    """An address as it stands in a packet: the msgpack string in its shortest form."""
    encoded: bytes = msgpack.packb(address)
    return encoded


class TooManySessionsError(Exception):
    """The user has as many sessions as one user may have."""


class Route:
    """The outlets behind one address, now."""

    __slots__ = ("outlets",)

    def __init__(self) -> None:
        self.outlets: tuple[Outlet, ...] = ()


class Directory:
    """Who is connected. One session per address: a newer one takes the place of an older one."""

    def __init__(self, sessions_per_user_max: int) -> None:
        self._sessions_per_user_max = sessions_per_user_max
        self._users: dict[str, dict[str, Subscriber]] = {}
        self._sessions: dict[str, Subscriber] = {}
        self._routes: dict[bytes, Route] = {}
        self._expected: Counter[str] = Counter()
        self._barred: dict[str, bytes | None] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def __repr__(self) -> str:
        return f"<Directory: {len(self._sessions)} sessions of {len(self._users)} users>"

    def attach(self, subscriber: Subscriber) -> None:
        """Make a session reachable. An older one with the same address is told and closed.

        Raises TooManySessionsError; nothing has changed then.
        """
        replaced = self.replace(subscriber.address)
        devices = self._users.get(subscriber.user, {})
        if not replaced and len(devices) >= self._sessions_per_user_max:
            raise TooManySessionsError
        self._users.setdefault(subscriber.user, devices)[subscriber.device] = subscriber
        self._sessions[subscriber.address] = subscriber
        self._update_routes(subscriber)

    def replace(self, address: str) -> bool:
        """Tell and close the session with this address, because another one takes its place. Whether there was one."""
        older = self._sessions.get(address)
        if older is not None:
            older.end(CloseCode.REPLACED, f"another program logged in as {address}")
        return older is not None

    def detach(self, subscriber: Subscriber) -> None:
        """Make a session unreachable. One that is not in the directory (any more) is ignored."""
        if self._sessions.get(subscriber.address) is not subscriber:
            return
        del self._sessions[subscriber.address]
        devices = self._users[subscriber.user]
        del devices[subscriber.device]
        if not devices:
            del self._users[subscriber.user]
        self._update_routes(subscriber)

    def route(self, encoded: bytes) -> Route | None:
        """The route to an address given as `address_bytes`; None if nobody is there."""
        return self._routes.get(encoded)

    def session(self, address: str) -> Subscriber | None:
        """The live session with this address."""
        return self._sessions.get(address)

    def sessions_of(self, user: str) -> Iterable[Subscriber]:
        """The live sessions of a user. Do not attach or detach while iterating."""
        return self._users.get(user, {}).values()

    def move_to_end(self, subscriber: Subscriber) -> None:
        """Make a session the last of its user's, so that taking the first of several equals takes turns."""
        devices = self._users[subscriber.user]
        devices[subscriber.device] = devices.pop(subscriber.device)

    def expect(self, user: str) -> None:
        """A login of the user is under way."""
        self._expected[user] += 1

    def stop_expecting(self, user: str) -> None:
        """The opposite of `expect`: the session is attached, or none came of the login."""
        self._expected[user] -= 1
        if not self._expected[user]:
            del self._expected[user]
            self._barred.pop(user, None)

    def bar(self, user: str, login_key: bytes | None) -> None:
        """The user's account has changed: of the logins under way only those with this key may succeed, if any."""
        if user in self._expected:
            self._barred[user] = login_key

    def is_barred(self, user: str, login_key: bytes) -> bool:
        """Whether a login of the user that is under way must not succeed."""
        return self._barred.get(user, login_key) != login_key

    def concerns(self, user: str) -> bool:
        """Whether the user has a live session, or a login under way: what is known of her has to be kept in step."""
        return user in self._users or user in self._expected

    def users(self) -> list[str]:
        """The users with at least one live session, sorted."""
        return sorted(self._users)

    def everybody(self) -> list[Subscriber]:
        """All live sessions; a copy."""
        return list(self._sessions.values())

    def _update_routes(self, subscriber: Subscriber) -> None:
        here = self._sessions.get(subscriber.address)
        self._set_route(subscriber.address, () if here is None else (here.outlet,))
        self._set_route(subscriber.user, tuple(s.outlet for s in self.sessions_of(subscriber.user)))

    def _set_route(self, address: str, outlets: tuple[Outlet, ...]) -> None:
        encoded = address_bytes(address)
        if outlets:
            self._routes.setdefault(encoded, Route()).outlets = outlets
            return
        route = self._routes.pop(encoded, None)
        if route is not None:
            route.outlets = ()
