"""Bad input again and again: descriptors and memory return to where they were."""

from collections.abc import Callable
from itertools import count

from relay.protocol.codes import ErrorCode
from relay.protocol.limits import FRAME_MAX_BEFORE_LOGIN
from relay.protocol.packets import Ack, Call, Fault, Signal
from relay.protocol.scram import ClientLogin
from tests.integration.peer import PASSWORD, Peer
from tests.integration.samples import after_login, before_login
from tests.integration.stage import Stage

# Allowed growth of the process, for all connections together. Each of them is heavy, so that keeping a few of many
# hundreds is more than this.
GROWTH_BYTES = 1024 * 1024

# A frame that is announced to be as long as may be before the login, and ends early.
HALF_A_FRAME = FRAME_MAX_BEFORE_LOGIN.to_bytes(4, "big") + bytes(3000)

# An announcement as large as may be, which takes some 30 KB in the relay for as long as the session lives.
METHODS = {"methods": [f"{number:064}" for number in range(256)]}


def grows_by(stage: Stage, round_of: Callable[[], None], rounds: int, besides: int = 0) -> int:
    """How many bytes of memory the relay has more after `rounds` of something, once the first ones are over.

    `besides` connections stay.
    """

    def once() -> None:
        round_of()
        # Connections are accepted in order: when this one was, all were.
        last = stage.connect()
        last.send_bytes(b"\0\0\0\0")
        last.closing()
        last.close()
        stage.back_to_before(besides)

    with stage.quiet():
        for _ in range(rounds // 2):
            once()
        before = stage.relay.resident_bytes()
        for _ in range(rounds):
            once()
        return stage.relay.resident_bytes() - before


def hang_up(peers: list[Peer]) -> None:
    for peer in peers:
        peer.close()


def test_strangers_leave_nothing_behind(stage: Stage) -> None:
    samples = before_login()

    def everybody_once() -> None:
        peers = [stage.connect() for _ in samples]
        for peer, sample in zip(peers, samples, strict=True):
            peer.send_bytes(sample.data)
        assert [peer.closing().code for peer in peers] == [sample.code for sample in samples]
        hang_up(peers)

    assert grows_by(stage, everybody_once, rounds=20) < GROWTH_BYTES


def test_strangers_who_vanish_leave_nothing_behind(stage: Stage) -> None:
    def everybody_once() -> None:
        peers = [stage.connect() for _ in range(90)]
        for peer in peers:
            peer.send_bytes(HALF_A_FRAME)
        hang_up(peers)

    assert grows_by(stage, everybody_once, rounds=20) < GROWTH_BYTES


def test_sessions_that_break_a_rule_leave_nothing_behind(stage: Stage) -> None:
    # Those of a mebibyte show nothing here: the allocator keeps what they needed once.
    users = [stage.user() for _ in after_login()]
    builds = [build for _, build in after_login() if len(build("user0/device").data) < 10_000]

    def everybody_once() -> None:
        peers = []
        for user, build in zip(users, builds, strict=False):
            peer = stage.session(user)
            peer.ask("methods.announce", METHODS)
            sample = build(peer.address)
            peer.send_bytes(sample.data)
            assert peer.closing().code == sample.code
            peers.append(peer)
        hang_up(peers)

    assert grows_by(stage, everybody_once, rounds=3) < GROWTH_BYTES


def test_sessions_that_did_everything_leave_nothing_behind(stage: Stage) -> None:
    users = [stage.user() for _ in range(40)]
    friend = stage.session()
    call_ids = count(1)

    def everybody_once() -> None:
        peers = [stage.session(user) for user in users]
        for number, peer in enumerate(peers):
            peer.receive_messages()
            peer.ask("methods.announce", METHODS)
            peer.signal(friend.address, b"hello")
            friend.expect(Signal)
            # An id whose older answer may still come would be refused.
            peer.call(friend.address, next(call_ids))
            friend.expect(Call)
            friend.call(peer.address, number + 1)
            peer.expect(Call)
            peer.send(Ack(f"{peer.user}@{peer.user}", 1, None))
        for peer in peers:
            peer.close()
            assert friend.expect(Fault).code == ErrorCode.SESSION_GONE

    assert grows_by(stage, everybody_once, rounds=4, besides=1) < GROWTH_BYTES


def test_logins_that_stop_half_way_leave_nothing_behind(stage: Stage) -> None:
    def everybody_once() -> None:
        peers = [stage.connect() for _ in range(150)]
        for peer in peers:
            peer.hello(ClientLogin("somebody", PASSWORD), "somebody")
            peer.send_bytes(HALF_A_FRAME)
        hang_up(peers)

    assert grows_by(stage, everybody_once, rounds=10) < GROWTH_BYTES
