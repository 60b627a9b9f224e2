"""How many may come: in total, from one address, of one user, and what happens when descriptors run out."""

import resource
from pathlib import Path

import pytest

from relay.protocol.codes import CloseCode, ErrorCode, Retry, retry_after_close
from relay.protocol.packets import Call, Challenge, Fault, Hello, Proof, Welcome
from relay.protocol.scram import MECHANISM, ClientLogin
from tests.integration.peer import PASSWORD, Peer, eventually
from tests.integration.stage import RelayProcess, staged
from tests.process import COMMAND


def turned_away(peer: Peer, words: str) -> None:
    """The relay has its number, says so, and when to come back."""
    close = peer.closing()
    assert close.code == CloseCode.TOO_MANY_CONNECTIONS
    assert retry_after_close(close.code) is Retry.LATER
    assert close.retry_ms is not None and close.retry_ms > 0
    assert words in close.sentence


def test_connections_in_total(tmp_path: Path) -> None:
    # The two bystanders count, too.
    with RelayProcess(tmp_path, connections_max=6) as relay, staged(relay) as stage:
        sessions = [stage.session(), stage.session()]
        strangers = [stage.connect(relay.source()), stage.connect(relay.source())]
        late = stage.connect(relay.source())
        turned_away(late, "the relay has its 6 connections")
        stage.one_log_line(late, "WARNING", "the relay has its 6 connections")
        stage.undisturbed()
        strangers[0].close()
        relay.process.await_line(strangers[0].name, "left")
        stage.session().alive()
        turned_away(stage.connect(), "6 connections")
        for session in sessions:
            session.alive()


def test_connections_from_one_address(tmp_path: Path) -> None:
    with RelayProcess(tmp_path, connections_per_address_max=3) as relay, staged(relay) as stage:
        stage.session()
        second, _ = stage.session(), stage.connect()
        late = stage.connect()
        turned_away(late, "3 connections from your address")
        stage.one_log_line(late, "WARNING", "3 connections from your address")
        stage.connect(relay.source()).log_in(stage.user())
        second.close()
        relay.process.await_line(second.name, "is gone")
        stage.session().alive()


def test_a_closing_session_counts_until_it_is_gone(tmp_path: Path) -> None:
    """Its peer is told to go, and stays: no way around the cap."""
    with RelayProcess(tmp_path, connections_per_address_max=2) as relay, staged(relay) as stage:
        user = stage.user()
        stage.session(user)
        stage.session(user)
        turned_away(stage.connect(), "2 connections from your address")


def test_sessions_of_one_user(tmp_path: Path) -> None:
    with RelayProcess(tmp_path, sessions_per_user_max=2) as relay, staged(relay) as stage:
        user, other = stage.user(), stage.session()
        first, second = stage.session(user, "first"), stage.session(user, "second")
        third = stage.session(user, "third")
        close = third.closing()
        assert close.code == CloseCode.TOO_MANY_SESSIONS
        assert retry_after_close(close.code) is Retry.NEVER
        again = stage.session(user, "second")
        assert second.closing().code == CloseCode.REPLACED
        first.alive()
        again.alive()
        first.close()
        relay.process.await_line(first.name, "is gone")
        stage.session(user, "third").alive()
        other.alive()


def test_logins_at_a_time(tmp_path: Path) -> None:
    """One place, and a crowd that comes at once: all get in, in any order, and who is silent holds nobody up."""
    with RelayProcess(tmp_path, logins_at_once_max=1, handshake_timeout_s=60) as relay, staged(relay) as stage:
        strangers = [stage.connect() for _ in range(10)]
        users = [stage.user() for _ in range(20)]
        logins = [ClientLogin(user, PASSWORD) for user in users]
        crowd = [stage.connect() for _ in users]
        for peer, user, login in zip(crowd, users, logins, strict=True):
            peer.send(Hello(1, 1, user, "device", MECHANISM, login.first(), "test/1"))
        finals = [login.final(peer.expect(Challenge).data) for peer, login in zip(crowd, logins, strict=True)]
        for peer, final in zip(reversed(crowd[1:]), reversed(finals[1:]), strict=True):
            peer.send(Proof(final))
        for peer in crowd[1:]:
            peer.expect(Welcome)
            peer.alive()
        crowd[0].send(Proof(finals[0]))
        crowd[0].expect(Welcome)
        stage.undisturbed()
        for stranger in strangers:
            assert not stranger.has_news()


def test_calls_of_one_session(tmp_path: Path) -> None:
    with RelayProcess(tmp_path, calls_in_flight_max=2) as relay, staged(relay) as stage:
        caller, callee = stage.session(), stage.session()
        for number in (1, 2, 3):
            caller.call(callee.address, number)
        assert caller.expect(Fault)[:4] == ("relay", caller.address, 3, ErrorCode.RATE_LIMITED)
        stage.session().call(callee.address, 1)
        assert [callee.expect(Call).id for _ in range(3)] == [1, 2, 1]


def test_running_out_of_descriptors(tmp_path: Path) -> None:
    """The cap keeps away from that; here the limit is lowered behind the relay's back."""
    with RelayProcess(tmp_path) as relay, staged(relay) as stage:
        session = stage.session()
        before = resource.prlimit(relay.pid, resource.RLIMIT_NOFILE)
        try:
            lowered = (highest_descriptor(relay) + 2, before[1])
            resource.prlimit(relay.pid, resource.RLIMIT_NOFILE, lowered)
        except PermissionError:
            pytest.skip("the limits of another process cannot be changed here")
        crowd = [stage.connect(relay.source()) for _ in range(20)]
        relay.process.await_line("ERROR", "turning connections away", relay.address)
        session.alive()
        stage.undisturbed()
        resource.prlimit(relay.pid, resource.RLIMIT_NOFILE, before)
        for peer in crowd:
            peer.close()
        eventually(lambda: can_log_in(stage.connect(), stage.user()), lambda: "room again")
        assert len(relay.process.seen("turning connections away")) == 1


def highest_descriptor(relay: RelayProcess) -> int:
    return max(int(entry.name) for entry in Path(f"/proc/{relay.pid}/fd").iterdir())


def can_log_in(peer: Peer, user: str) -> bool:
    try:
        peer.log_in(user)
    except (AssertionError, OSError):
        return False
    return True


def test_the_limit_of_open_files_caps_connections(tmp_path: Path) -> None:
    """Of 70 descriptors the relay keeps 64 for itself; the rest is what may come."""
    relay = RelayProcess(tmp_path)
    relay.command = ("sh", "-c", 'ulimit -n 70 && exec "$@"', "sh", *COMMAND)
    with relay, staged(relay) as stage:
        sessions = [stage.session() for _ in range(4)]
        turned_away(stage.connect(relay.source()), "the relay has its 6 connections")
        for session in sessions:
            session.alive()
