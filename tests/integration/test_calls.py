"""Calls between sessions: who is chosen, and the one answer, whatever happens to the callee."""

from collections import Counter

import pytest

from relay.protocol.codes import ErrorCode
from relay.protocol.packets import NUMBERS, Call, Error, Fault, Result
from tests.integration.peer import Peer, value_in
from tests.integration.stage import Stage


def workers(stage: Stage, number: int = 2, method: str = "work") -> tuple[str, list[Peer]]:
    """Sessions of one user that serve a method."""
    user = stage.user()
    peers = [stage.session(user, f"worker{position}") for position in range(number)]
    for peer in peers:
        assert value_in(peer.ask("methods.announce", {"methods": [method]})) == {}
    return user, peers


def answer(worker: Peer, call: Call, body: bytes = b"done") -> None:
    worker.send(Result(worker.address, call.sender, call.id, "", body))


def test_a_call_is_forwarded_byte_for_byte_and_answered_once(stage: Stage) -> None:
    user, (worker,) = workers(stage, 1)
    caller = stage.session()
    sent = Call(caller.address, user, 7, "work", 5000, "text/plain", b"please")
    caller.send(sent)
    assert worker.expect(Call) == sent
    reply = Result(worker.address, caller.address, 7, "text/plain", b"done")
    worker.send(reply)
    assert caller.expect(Result) == reply
    worker.send(reply)
    error = worker.expect(Error)
    assert (error.refused, error.id, error.code) == (NUMBERS[Result], 7, ErrorCode.TIMED_OUT)
    caller.alive()


def test_two_sessions_take_turns(stage: Stage) -> None:
    user, pair = workers(stage)
    caller = stage.session()
    served: Counter[str] = Counter()
    for number in range(1, 21):
        caller.call(user, number)
        worker = chosen(pair, caller)
        answer(worker, worker.expect(Call))
        result = caller.expect(Result)
        assert (result.id, result.sender) == (number, worker.address)
        served[worker.address] += 1
    assert set(served.values()) == {10}


def test_the_less_busy_session_is_chosen(stage: Stage) -> None:
    user, pair = workers(stage)
    caller = stage.session()
    caller.call(user, 1)
    busy = chosen(pair, caller)
    idle = next(peer for peer in pair if peer is not busy)
    for number in range(2, 6):
        caller.call(user, number)
        answer(idle, idle.expect(Call))
        assert caller.expect(Result).sender == idle.address
    answer(busy, busy.expect(Call))
    assert caller.expect(Result).id == 1


def chosen(peers: list[Peer], caller: Peer) -> Peer:
    """The one of two workers that got the call, once the relay has handled it."""
    caller.alive()
    (worker,) = [peer for peer in peers if peer.has_news()]
    return worker


def test_a_method_goes_to_who_announced_it(stage: Stage) -> None:
    user = stage.user()
    adder, idler = stage.session(user, "adder"), stage.session(user, "idler")
    caller = stage.session()
    caller.call(user, 1, "add")
    assert caller.expect(Fault)[:4] == ("relay", caller.address, 1, ErrorCode.NO_SUCH_METHOD)
    adder.ask("methods.announce", {"methods": ["add", "sub"]})
    caller.call(user, 2, "sub")
    answer(adder, adder.expect(Call))
    assert caller.expect(Result).id == 2
    adder.ask("methods.announce", {"methods": ["add"]})
    caller.call(user, 3, "sub")
    assert caller.expect(Fault).code == ErrorCode.NO_SUCH_METHOD
    caller.call(idler.address, 4, "sub")
    assert idler.expect(Call).id == 4
    answer(idler, Call(caller.address, idler.address, 4, "", 1, "", b""))
    assert caller.expect(Result).id == 4


def test_a_fault_of_the_callee_is_the_answer(stage: Stage) -> None:
    user, (worker,) = workers(stage, 1)
    caller = stage.session()
    caller.call(user, 1)
    worker.expect(Call)
    fault = Fault(worker.address, caller.address, 1, 1234, "the printer is out of paper")
    worker.send(fault)
    assert caller.expect(Fault) == fault
    caller.alive()


def test_a_callee_that_dies_is_told(stage: Stage) -> None:
    user, (worker,) = workers(stage, 1)
    caller = stage.session()
    caller.call(user, 1)
    worker.expect(Call)
    worker.close()
    fault = caller.expect(Fault)
    assert fault[:4] == ("relay", caller.address, 1, ErrorCode.SESSION_GONE)
    assert worker.address in fault.sentence
    caller.call(user, 2)
    assert caller.expect(Fault).code == ErrorCode.NO_SUCH_SESSION


def test_a_callee_whose_connection_broke_a_rule_is_gone_too(stage: Stage) -> None:
    user, (worker,) = workers(stage, 1)
    caller = stage.session()
    caller.call(user, 1)
    worker.expect(Call)
    worker.send_bytes(b"\0\0\0\0")
    assert caller.expect(Fault).code == ErrorCode.SESSION_GONE


def test_a_callee_that_was_replaced_is_gone_too(stage: Stage) -> None:
    user, (worker,) = workers(stage, 1)
    caller = stage.session()
    caller.call(user, 1)
    worker.expect(Call)
    newer = stage.session(user, "worker0")
    assert caller.expect(Fault).code == ErrorCode.SESSION_GONE
    answer(newer, Call(caller.address, user, 1, "", 1, "", b""))
    assert newer.expect(Error).code == ErrorCode.TIMED_OUT
    caller.alive()


def test_time_runs_out_and_a_late_answer_goes_nowhere(stage: Stage) -> None:
    user, (worker,) = workers(stage, 1)
    caller = stage.session()
    caller.call(user, 1, timeout_ms=50)
    call = worker.expect(Call)
    fault = caller.expect(Fault)
    assert fault[:4] == ("relay", caller.address, 1, ErrorCode.TIMED_OUT)
    answer(worker, call)
    error = worker.expect(Error)
    assert (error.id, error.code) == (1, ErrorCode.TIMED_OUT)
    caller.call(user, 1)
    answer(worker, worker.expect(Call), b"the second one")
    assert caller.expect(Result).body == b"the second one"
    caller.alive()


def test_only_the_callee_can_answer(stage: Stage) -> None:
    _, pair = workers(stage)
    caller, stranger = stage.session(), stage.session()
    caller.call(pair[0].address, 1)
    call = pair[0].expect(Call)
    for other in (stranger, pair[1], caller):
        answer(other, call)
        assert other.expect(Error).code == ErrorCode.TIMED_OUT
    answer(pair[0], call)
    assert caller.expect(Result).sender == pair[0].address
    caller.alive()


def test_a_caller_that_left_hears_nothing_when_it_is_back(stage: Stage) -> None:
    user, (worker,) = workers(stage, 1)
    name = stage.user()
    caller = stage.session(name)
    caller.call(user, 1)
    call = worker.expect(Call)
    again = stage.session(name)
    answer(worker, call)
    assert worker.expect(Error).code == ErrorCode.TIMED_OUT
    again.alive()


def test_ids_in_flight_are_unique(stage: Stage) -> None:
    user, (worker,) = workers(stage, 1)
    caller, other = stage.session(), stage.session()
    caller.call(user, 1)
    caller.call(user, 1)
    assert caller.expect(Fault)[2:4] == (1, ErrorCode.ID_REUSED)
    other.call(user, 1)
    calls = [worker.expect(Call), worker.expect(Call)]
    assert [call.sender for call in calls] == [caller.address, other.address]
    for call in calls:
        answer(worker, call, call.sender.encode())
    assert caller.expect(Result).body == caller.address.encode()
    assert other.expect(Result).body == other.address.encode()


def test_a_call_to_oneself(stage: Stage) -> None:
    user, (worker,) = workers(stage, 1)
    worker.call(user, 1)
    answer(worker, worker.expect(Call))
    assert worker.expect(Result).id == 1


@pytest.mark.parametrize("way", ["user", "session"])
def test_a_call_to_nobody(stage: Stage, way: str) -> None:
    caller, gone = stage.session(), stage.session()
    gone.close()
    stage.relay.process.await_line(gone.name, "is gone")
    caller.call(gone.address if way == "session" else gone.user, 1)
    fault = caller.expect(Fault)
    assert fault[:4] == ("relay", caller.address, 1, ErrorCode.NO_SUCH_SESSION)


def test_what_the_relay_answers_itself(stage: Stage) -> None:
    peer = stage.session(device="laptop")
    info = value_in(peer.ask("relay.info"))
    assert info["agent"].startswith("relay/")
    assert info["version"] == 1
    online = {entry["user"]: entry for entry in value_in(peer.ask("presence.list"))["users"]}
    assert online[peer.user] == {"user": peer.user, "sessions": ["laptop"], "bot": False}
    assert list(online) == sorted(online)
