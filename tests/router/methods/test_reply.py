"""The one answer to a call, and its arguments."""

from typing import Any

import pytest

from relay.protocol.codes import ErrorCode
from relay.protocol.limits import SENTENCE_MAX_BYTES
from relay.protocol.packets import Call, Fault, Result
from relay.protocol.payloads import Value, encode_body
from relay.router.methods.reply import RESULT_BODY_MAX, Arguments, RefusedError, Reply
from relay.store.base import Refusal, StoreError
from tests.router.recording import RecordingSubscriber


def call(value: Value | None = None, body: bytes | None = None, content_type: str = "application/msgpack") -> Call:
    if body is None:
        content_type, body = encode_body({} if value is None else value)
    return Call("alice/phone", "relay", 5, "the.method", 1000, content_type, body)


def arguments(**values: Value) -> Arguments:
    return Arguments(call(values))


def answered(session: RecordingSubscriber) -> tuple[Any, ...]:
    (answer,) = session.outlet.take()
    assert isinstance(answer, Result | Fault)
    assert answer[:3] == ("relay", "alice/phone", 5)
    return answer[3:]


@pytest.fixture
def session() -> RecordingSubscriber:
    return RecordingSubscriber("alice")


@pytest.fixture
def reply(session: RecordingSubscriber) -> Reply:
    return Reply(session, call())


def test_a_result_goes_to_the_caller(session: RecordingSubscriber, reply: Reply) -> None:
    reply.result({"a": [1, None]})
    assert answered(session) == ("application/msgpack", b"\x81\xa1a\x92\x01\xc0")


def test_a_result_that_fits_no_packet_is_a_fault(session: RecordingSubscriber, reply: Reply) -> None:
    reply.result({"a": bytes(RESULT_BODY_MAX)})
    assert answered(session)[0] == ErrorCode.TOO_LARGE


@pytest.mark.parametrize("sentence", ["too bad", "é" * 1000, "x" * 2_000_000])
def test_a_fault_says_why_in_a_sentence_that_fits(session: RecordingSubscriber, reply: Reply, sentence: str) -> None:
    reply.fault(ErrorCode.NOT_ALLOWED, sentence)
    code, said = answered(session)
    assert code == ErrorCode.NOT_ALLOWED
    assert sentence.startswith(said)
    assert 0 < len(said.encode()) <= SENTENCE_MAX_BYTES


def test_done_is_an_empty_result_or_the_stores_error(session: RecordingSubscriber, reply: Reply) -> None:
    reply.done(None)
    assert answered(session) == ("application/msgpack", b"\x80")
    reply.done(StoreError("no room on the disk"))
    assert answered(session) == (ErrorCode.STORE_FAILED, "no room on the disk")


def test_when_answers_what_went_wrong_and_passes_on_the_rest(session: RecordingSubscriber, reply: Reply) -> None:
    passed: list[object] = []
    done = reply.when(passed.append)
    done(StoreError("no room on the disk"))
    assert answered(session)[0] == ErrorCode.STORE_FAILED
    done(Refusal(ErrorCode.NO_SUCH_ROOM, "there is no room"))
    assert answered(session) == (ErrorCode.NO_SUCH_ROOM, "there is no room")
    for value in ([], None, 0, {"a": 1}):
        done(value)
    assert passed == [[], None, 0, {"a": 1}]
    assert session.outlet.take() == []


@pytest.mark.parametrize(
    ("reader", "values", "expected"),
    [
        (lambda a: a.text("x"), {"x": ""}, ""),
        (lambda a: a.text("x", "d"), {}, "d"),
        (lambda a: a.optional_text("x"), {}, None),
        (lambda a: a.optional_text("x"), {"x": None}, None),
        (lambda a: a.optional_text("x"), {"x": "y"}, "y"),
        (lambda a: a.number("x"), {}, None),
        (lambda a: a.number("x", 7), {}, 7),
        (lambda a: a.number("x"), {"x": 0}, 0),
        (lambda a: a.number("x", 7, 9), {"x": 9}, 9),
        (lambda a: a.number("x", 7), {"x": None}, None),
        (lambda a: a.flag("x"), {}, None),
        (lambda a: a.flag("x", True), {}, True),
        (lambda a: a.flag("x", True), {"x": False}, False),
        (lambda a: a.texts("x", 2), {}, None),
        (lambda a: a.texts("x", 2), {"x": []}, []),
        (lambda a: a.texts("x", 2), {"x": ["a", "b"]}, ["a", "b"]),
        (lambda a: a.user(), {"user": "Alice"}, "alice"),
        (lambda a: a.room(), {"room": "#Ops"}, "#ops"),
        (lambda a: a.conversation("bob"), {"conversation": "Alice"}, "alice@bob"),
        (lambda a: a.conversation("bob"), {"conversation": "bob"}, "bob@bob"),
        (lambda a: a.conversation("bob"), {"conversation": "zoe@Alice"}, "alice@zoe"),
        (lambda a: a.conversation("bob"), {"conversation": "#Ops"}, "#ops"),
    ],
)
def test_arguments_are_read(reader: Any, values: dict[str, Value], expected: object) -> None:
    assert reader(arguments(**values)) == expected


@pytest.mark.parametrize(
    ("reader", "values"),
    [
        (lambda a: a.text("x"), {}),
        (lambda a: a.text("x", "d"), {"x": None}),
        (lambda a: a.text("x"), {"x": b"bytes"}),
        (lambda a: a.optional_text("x"), {"x": 1}),
        (lambda a: a.number("x"), {"x": -1}),
        (lambda a: a.number("x"), {"x": True}),
        (lambda a: a.number("x"), {"x": 2**53}),
        (lambda a: a.number("x", 7, 9), {"x": 10}),
        (lambda a: a.number("x"), {"x": "1"}),
        (lambda a: a.flag("x"), {"x": 1}),
        (lambda a: a.texts("x", 2), {"x": ["a", "b", "c"]}),
        (lambda a: a.texts("x", 2), {"x": ["a", 1]}),
        (lambda a: a.texts("x", 2), {"x": "ab"}),
        (lambda a: a.user(), {}),
        (lambda a: a.user(), {"user": "a/b"}),
        (lambda a: a.user(), {"user": ""}),
        (lambda a: a.room(), {"room": "ops"}),
        (lambda a: a.room(), {"room": "#"}),
        (lambda a: a.room(), {"room": "##ops"}),
        (lambda a: a.conversation("bob"), {"conversation": "a@b@c"}),
        (lambda a: a.conversation("bob"), {"conversation": "@b"}),
        (lambda a: a.conversation("bob"), {"conversation": ""}),
        (lambda a: a.conversation("bob"), {"conversation": "#"}),
    ],
)
def test_wrong_arguments_are_refused_with_the_methods_name(reader: Any, values: dict[str, Value]) -> None:
    with pytest.raises(RefusedError, match=r"the\.method") as caught:
        reader(arguments(**values))
    assert caught.value.code == ErrorCode.BAD_ARGUMENTS


@pytest.mark.parametrize(
    "wrong", [call([1]), call(body=b"\xc1"), call("text"), call(body=b"\x81\xa1x"), call(body=b"x", content_type="")]
)
def test_a_body_that_holds_no_named_arguments_is_refused(wrong: Call) -> None:
    with pytest.raises(RefusedError) as caught:
        Arguments(wrong)
    assert caught.value.code == ErrorCode.BAD_ARGUMENTS


@pytest.mark.parametrize("right", [call({}), call([]), call(body=b""), call(body=b"", content_type="")])
def test_no_arguments_are_no_arguments(right: Call) -> None:
    assert Arguments(right).number("x") is None
