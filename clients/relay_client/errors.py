# ruff: noqa: N818 - these names are read aloud in except clauses: `except LoginFailed`
"""Everything that can go wrong, by type. Each text is a sentence for a person: what happened and what to do.

`RelayError` catches all of it. Errors that a standard exception describes are that, too: a timeout is a TimeoutError.
"""

from relay.protocol.codes import CloseCode, ErrorCode


class RelayError(Exception):
    """Any error of this package."""


class BadUrl(RelayError, ValueError):
    """The URL is not one of a relay. The text shows the form and never the password."""


class BadAddress(RelayError, ValueError):
    """A name or an address is not one; the text names the rule it breaks."""


class BadValue(RelayError, ValueError):
    """A value cannot be sent (msgpack has no form for it, it is too large), or a received body is not what it says."""


class ConnectFailed(RelayError, ConnectionError):
    """The first connection was not made: nobody answers at the address, or the relay said to come later."""


class ConnectionLost(RelayError, ConnectionError):
    """The connection broke, and it is unknown whether the call ran. Messages never fail for this: they are kept."""


class NotConnected(RelayError, ConnectionError):
    """There is no connection at this moment, and what was asked is not kept for later (signals)."""


class ClientClosed(RelayError):
    """This client was closed; make a new one."""


class TimedOut(RelayError, TimeoutError):
    """The time given was over. For a message: it stays under way, and may be stored later."""


class ConnectionEnded(RelayError, ConnectionError):
    """The relay ended the connection for good, or broke the protocol: trying again without a change cannot help.

    `code` is a close code (relay.protocol.codes.CloseCode, or a number this version does not know).
    """

    def __init__(self, code: int, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence


class LoginFailed(ConnectionEnded):
    """The relay does not accept the user and password, or could not prove that it knows the account."""


class Replaced(ConnectionEnded):
    """Another program logged in as the same device of the same user."""


class Refused(RelayError):
    """The relay refused a message. `code` as in relay.protocol.codes.ErrorCode."""

    def __init__(self, code: int, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence

    @property
    def retryable(self) -> bool:
        """Whether the same message may be accepted later."""
        return 300 <= self.code < 400


class CallFailed(RelayError):
    """A call was answered with a fault. Codes from 1000 up are the application's own."""

    def __init__(self, code: int, sentence: str, to: str = "", method: str = "") -> None:
        super().__init__(f"{method} of {to}: {sentence}" if method else sentence)
        self.code = code
        self.sentence = sentence
        self.to = to
        self.method = method


class CallTimedOut(CallFailed, TimedOut):
    """No answer came in time. It is unknown whether the call ran."""


class MethodError(RelayError):
    """Raise it in a method to answer the call with a fault: a sentence for the caller, a code from 1000 up."""

    def __init__(self, sentence: str, code: int = 1000) -> None:
        if code < 1000:
            raise ValueError(f"codes of applications begin at 1000; {code} belongs to the relay")
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence


class StreamReset(RelayError):
    """The other end, or the relay in its place, ended the stream or refused it. `code` as in ErrorCode, or from 1000 up
    an application's own: CANCELLED, SESSION_GONE (its connection ended), NO_SUCH_SERVICE, METHOD_FAILED and others."""

    def __init__(self, code: int, sentence: str, service: str = "", peer: str = "") -> None:
        super().__init__(f"stream {service!r} with {peer}: {sentence}" if peer else sentence)
        self.code = code
        self.sentence = sentence
        self.service = service
        self.peer = peer


class StreamTimedOut(StreamReset, TimedOut):
    """The stream was not accepted in time."""


class StreamClosed(RelayError, ValueError):
    """This end has finished, closed or reset the stream before."""


class FileFailed(RelayError):
    """A file cannot be read, sent, received or kept: the text says what is in the way. `code` (as in ErrorCode) and
    `told` are for the other end, which need not know our directories."""

    def __init__(self, sentence: str, code: int = ErrorCode.METHOD_FAILED, told: str = "") -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence
        self.told = told or sentence


class FileThere(FileFailed, FileExistsError):
    """There is a file of this name already, and it was not asked to be replaced."""


class FileChanged(FileFailed):
    """The file changed while it was sent."""


class FileBusy(FileFailed):
    """Another program, or another call of this one, is at the same transfer at this moment."""


class WrongContent(FileFailed):
    """What came is not what was announced: another hash or size, a gap, an overlap. Nothing of it is kept."""


class BotFileError(RelayError):
    """A bot file cannot be used: it is missing, or holds no Bot, or several."""


def ended(code: int, sentence: str) -> ConnectionEnded:
    """The error for a close after which a client gives up."""
    kinds = {CloseCode.LOGIN_FAILED: LoginFailed, CloseCode.REPLACED: Replaced}
    return kinds.get(code, ConnectionEnded)(code, sentence)  # type: ignore[call-overload, no-any-return]


def call_failed(code: int, sentence: str, to: str, method: str) -> CallFailed:
    """The error for a FAULT."""
    kind = CallTimedOut if code == ErrorCode.TIMED_OUT else CallFailed
    return kind(code, sentence, to, method)


def stream_reset(code: int, sentence: str, service: str, peer: str) -> StreamReset:
    """The error for a RESET."""
    kind = StreamTimedOut if code == ErrorCode.TIMED_OUT else StreamReset
    return kind(code, sentence, service, peer)
