"""Codes: ranges decide, and a number never changes its meaning."""

import pytest

from relay.protocol.codes import CloseCode, ErrorCode, Retry, retry_after_close


@pytest.mark.parametrize("code", ErrorCode)
def test_error_codes_leave_the_applications_range_alone(code: ErrorCode) -> None:
    assert 100 <= code < 400


@pytest.mark.parametrize("code", ErrorCode)
def test_the_range_of_an_error_says_whether_to_send_again(code: ErrorCode) -> None:
    assert code.retryable is (code // 100 == 3)


@pytest.mark.parametrize("code", CloseCode)
def test_close_codes_fit_websockets_private_range(code: CloseCode) -> None:
    assert 4000 <= code <= 4999


@pytest.mark.parametrize(
    ("code", "retry"),
    [
        (CloseCode.NORMAL, Retry.NOW),
        (CloseCode.SHUTTING_DOWN, Retry.LATER),
        (CloseCode.SLOW_READER, Retry.LATER),
        (CloseCode.LOGIN_FAILED, Retry.NEVER),
        (CloseCode.REPLACED, Retry.NEVER),
        (CloseCode.BAD_PACKET, Retry.NEVER),
        (4099, Retry.NOW),
        (4199, Retry.LATER),
        (4200, Retry.NEVER),
        (3999, Retry.NEVER),
        (0, Retry.NEVER),
        (10_000, Retry.NEVER),
    ],
)
def test_known_and_unknown_closes_say_what_to_do_next(code: int, retry: Retry) -> None:
    assert retry_after_close(code) is retry
