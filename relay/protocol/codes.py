"""Every code a peer can meet: reply errors leave the connection open, close codes end it.

The range of a close code alone tells a client what to do next, so a client that has never heard of a code still does
the right thing. The numbers fit WebSocket's private range (RFC 6455 section 7.4.2: 4000 to 4999).
"""

from enum import Enum, IntEnum, unique


@unique
class ErrorCode(IntEnum):
    """Why one packet was refused. The connection stays open. Codes from 1000 up belong to applications."""

    # 1xx: the request is wrong; sending it again cannot help.
    MALFORMED = 100
    UNKNOWN_PACKET = 101
    FORGED_SENDER = 102
    BAD_ADDRESS = 103
    TOO_LARGE = 104
    BAD_ARGUMENTS = 105
    ID_REUSED = 106
    FLOW_CONTROL = 107
    BAD_STREAM = 108

    # 2xx: the request is right, but there is nobody or nothing there, or it is not allowed.
    NO_SUCH_USER = 200
    NO_SUCH_SESSION = 201
    NO_SUCH_ROOM = 202
    NO_SUCH_METHOD = 203
    NOT_ALLOWED = 204
    BLOCKED = 205
    METHOD_FAILED = 206
    NO_SUCH_CONVERSATION = 207
    QUOTA_EXCEEDED = 208
    NO_SUCH_SERVICE = 209
    NO_SUCH_STREAM = 210
    CANCELLED = 211
    WRONG_HASH = 212
    BAD_CHUNK = 213
    NO_SUCH_FILE = 214
    BAD_FILE_NAME = 215
    UPLOAD_CONTINUED = 216

    # 3xx: not now; sending it again later can help.
    RATE_LIMITED = 300
    QUEUE_FULL = 301
    TIMED_OUT = 302
    SESSION_GONE = 303
    STORE_FAILED = 304
    SHUTTING_DOWN = 305

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed later."""
        return 300 <= self < 400


class Retry(Enum):
    """What a client does after its connection was closed."""

    NOW = "reconnect at once"
    LATER = "reconnect after the stated delay, or with growing pauses"
    NEVER = "give up: a person has to change something"


@unique
class CloseCode(IntEnum):
    """Why a connection ends. The hundreds decide what the client does: see `retry_after_close`."""

    # 40xx: reconnect at once.
    NORMAL = 4000
    TICKET_REFUSED = 4001

    # 41xx: reconnect later.
    SHUTTING_DOWN = 4100
    TOO_MANY_CONNECTIONS = 4101
    SLOW_READER = 4102
    KEEPALIVE_TIMEOUT = 4103
    HANDSHAKE_TIMEOUT = 4104
    TOO_MANY_ATTEMPTS = 4105
    INTERNAL_ERROR = 4106
    STORE_FAILED = 4107

    # 42xx: give up, a person has to act.
    LOGIN_FAILED = 4200
    ACCOUNT_ENDED = 4201
    REPLACED = 4202
    TOO_MANY_SESSIONS = 4203

    # 43xx: give up, the program has to be corrected.
    NOT_THE_PROTOCOL = 4300
    UNSUPPORTED_VERSION = 4301
    BAD_FRAME = 4302
    BAD_PACKET = 4303
    NOT_ALLOWED_NOW = 4304
    UNSUPPORTED_MECHANISM = 4305


def retry_after_close(code: int) -> Retry:
    """What to do after a close with `code`, known or not: 40xx now, 41xx later, everything else never."""
    if 4000 <= code < 4100:
        return Retry.NOW
    if 4100 <= code < 4200:
        return Retry.LATER
    return Retry.NEVER


# RFC 6455 section 7.4.1, and the registry it began: 1013 is "try again later".
_WEBSOCKET_CODES = {
    CloseCode.NORMAL: 1000,
    CloseCode.SHUTTING_DOWN: 1001,
    CloseCode.TOO_MANY_CONNECTIONS: 1013,
    CloseCode.INTERNAL_ERROR: 1011,
    CloseCode.STORE_FAILED: 1011,
    CloseCode.BAD_FRAME: 1009,
}


def websocket_code(code: int) -> int:
    """The code of the WebSocket close frame that follows a CLOSE: less exact, for what cannot read the CLOSE."""
    found = _WEBSOCKET_CODES.get(code)  # type: ignore[call-overload]
    if found is not None:
        return int(found)
    return 1013 if retry_after_close(code) is Retry.LATER else 1008
