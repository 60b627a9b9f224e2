"""The two kinds of errors: theirs carries a code, ours is something else altogether."""

from relay.protocol.codes import CloseCode
from relay.protocol.errors import LocalError, RemoteError


def test_their_error_carries_what_a_close_needs() -> None:
    error = RemoteError(CloseCode.BAD_FRAME, "a sentence")
    assert (error.code, error.sentence, str(error)) == (CloseCode.BAD_FRAME, "a sentence", "a sentence")


def test_who_catches_their_errors_does_not_hide_ours() -> None:
    assert not issubclass(LocalError, RemoteError)
    assert not issubclass(RemoteError, LocalError)
