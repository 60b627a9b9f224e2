"""The types of errors, as programs catch them."""

import pytest
from relay_client import errors

from relay.protocol.codes import CloseCode, ErrorCode


def test_everything_is_a_relay_error() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert len(kinds) > 15 and all(issubclass(kind, errors.RelayError) for kind in kinds)
    assert all(kind.__doc__ for kind in kinds)


@pytest.mark.parametrize(
    ("kind", "standard"),
    [
        (errors.TimedOut, TimeoutError),
        (errors.CallTimedOut, TimeoutError),
        (errors.ConnectFailed, ConnectionError),
        (errors.ConnectionLost, ConnectionError),
        (errors.LoginFailed, ConnectionError),
        (errors.BadUrl, ValueError),
        (errors.BadAddress, ValueError),
        (errors.BadValue, ValueError),
    ],
)
def test_standard_handlers_catch_them(kind: type, standard: type) -> None:
    assert issubclass(kind, standard)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (CloseCode.LOGIN_FAILED, errors.LoginFailed),
        (CloseCode.REPLACED, errors.Replaced),
        (CloseCode.BAD_FRAME, errors.ConnectionEnded),
        (4999, errors.ConnectionEnded),
    ],
)
def test_an_end_has_its_type_and_code(code: int, kind: type) -> None:
    error = errors.ended(code, "because")
    assert type(error) is kind and error.code == code and str(error) == "because"


def test_a_failed_call_says_of_what() -> None:
    error = errors.call_failed(ErrorCode.NO_SUCH_METHOD, "nobody serves it", "bob", "add")
    assert str(error) == "add of bob: nobody serves it" and not isinstance(error, errors.TimedOut)
    assert isinstance(errors.call_failed(ErrorCode.TIMED_OUT, "late", "bob", "add"), errors.CallTimedOut)


@pytest.mark.parametrize(("code", "retryable"), [(106, False), (200, False), (300, True), (399, True), (400, False)])
def test_a_refusal_says_whether_to_send_again(code: int, retryable: bool) -> None:
    assert errors.Refused(code, "no").retryable is retryable


def test_the_codes_of_methods_are_their_own() -> None:
    assert errors.MethodError("out of paper").code == 1000
    with pytest.raises(ValueError, match="1000"):
        errors.MethodError("no", 203)
