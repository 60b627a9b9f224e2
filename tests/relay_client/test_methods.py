"""Which function answers a call, and what a caller hears when none does. Over the wire: test_shell."""

import time
from typing import Any

import pytest
from relay_client.errors import BadValue, MethodError
from relay_client.methods import CallRefusedError, Methods, TooLateError, fault_for
from relay_client.received import Call

from relay.protocol import packets
from relay.protocol.codes import ErrorCode
from relay.protocol.payloads import MSGPACK, encode_body


def call(method: str, arguments: Any = None, late: bool = False) -> Call:
    content_type, body = encode_body(arguments) if arguments is not None else ("", b"")
    packet = packets.Call("bob/phone", "alice", 9, method, 5000, content_type, body)
    return Call(packet, time.monotonic() + (-1 if late else 60), 1)


@pytest.fixture
def methods() -> Methods:
    methods = Methods()
    methods.add("add", lambda call, a, b=10: a + b)
    methods.add("all", lambda *args, **kwargs: [len(args), sorted(kwargs)])
    return methods


@pytest.mark.parametrize(
    ("method", "arguments", "answer"),
    [
        ("add", [1, 2], 3),
        ("add", [1], 11),
        ("add", {"a": 1, "b": 2}, 3),
        ("add", {"b": 1, "a": 2}, 3),
        ("add", 5, 15),
        ("all", [1, 2], [3, []]),
        ("all", {"x": 1}, [1, ["x"]]),
        ("all", None, [1, []]),
    ],
)
def test_arguments_reach_the_function(methods: Methods, method: str, arguments: Any, answer: Any) -> None:
    assert methods.run(call(method, arguments)) == answer


@pytest.mark.parametrize("arguments", [None, [], [1, 2, 3], {"c": 1}, {"a": 1, "call": 2}, [[], {}, 1]])
def test_arguments_that_do_not_fit_are_told_with_the_signature(methods: Methods, arguments: Any) -> None:
    with pytest.raises(CallRefusedError) as caught:
        methods.run(call("add", arguments))
    assert caught.value.code == ErrorCode.BAD_ARGUMENTS and "add(a, b=10)" in caught.value.sentence


def test_arguments_that_cannot_be_read_are_told(methods: Methods) -> None:
    packet = packets.Call("bob/phone", "alice", 9, "add", 5000, MSGPACK, b"\xc1")
    with pytest.raises(CallRefusedError) as caught:
        methods.run(Call(packet, time.monotonic() + 60, 1))
    assert caught.value.code == ErrorCode.BAD_ARGUMENTS


def test_a_method_that_is_not_there(methods: Methods) -> None:
    with pytest.raises(CallRefusedError) as caught:
        methods.run(call("subtract"))
    assert caught.value.code == ErrorCode.NO_SUCH_METHOD and "subtract" in caught.value.sentence


def test_a_call_whose_time_is_over_is_not_run(methods: Methods, caplog: pytest.LogCaptureFixture) -> None:
    late = call("add", [1, 2], late=True)
    with pytest.raises(TooLateError) as caught:
        methods.run(late)
    assert fault_for(caught.value, late)[0] == ErrorCode.TIMED_OUT and "add" in caplog.text


def test_a_failure_is_in_the_log_and_not_in_the_answer(caplog: pytest.LogCaptureFixture) -> None:
    code, sentence = fault_for(ZeroDivisionError("inside"), call("add"))
    assert code == ErrorCode.METHOD_FAILED and "inside" not in sentence
    assert "ZeroDivisionError: inside" in caplog.text and "bob/phone" in caplog.text


def test_an_answer_that_cannot_be_sent_is_told_apart() -> None:
    code, sentence = fault_for(BadValue("no form for object"), call("add"))
    assert code == ErrorCode.METHOD_FAILED and "cannot be sent" in sentence


def test_a_method_may_fail_in_its_own_words(caplog: pytest.LogCaptureFixture) -> None:
    assert fault_for(MethodError("out of paper", 1234), call("print")) == (1234, "out of paper")
    assert caplog.text == ""


@pytest.mark.parametrize("function", [lambda: 1, lambda *, call: 1, lambda **kwargs: 1])
def test_a_function_must_take_the_call(function: Any) -> None:
    with pytest.raises(ValueError, match="first parameter"):
        Methods().add("add", function)


def test_names_are_those_added(methods: Methods) -> None:
    assert methods.names == ["add", "all"]
