"""The message by which a file arrives in a conversation: what it says, and sending it exactly once.

Before it is sent, the place in the conversation behind which it will stand is noted. A program that goes on after
another one was ended looks there first whether the message was sent.
"""

from relay.protocol.codes import ErrorCode
from relay.protocol.payloads import encode_body
from relay.protocol.transfer import FILE
from relay_client.errors import CallFailed
from relay_client.files.effects import Run, Send, Work
from relay_client.files.memo import Memo
from relay_client.questions import read_page
from relay_client.received import Announced, Stored

PAGE = 100

FOR_EVER_S = 1e9

# For the one message there is always time.
LEAST_S = 10.0


def announcement(file: Announced) -> bytes:
    """The body of the message."""
    return encode_body(file._asdict())[1]


def announce(to: str, file: Announced, me: str, memo: Memo, patience_s: float | None) -> Work[Stored]:
    """Send the message, unless an earlier program has."""
    body = announcement(file)
    if "behind" in memo.facts:
        found = yield from _find(to, body, me, memo.facts["behind"])
        if found is not None:
            return found
    else:
        behind = yield from _head(to)
        yield Run(lambda: memo.note(behind=behind))
    stored: Stored = yield Send(to, FILE, body, FOR_EVER_S if patience_s is None else max(patience_s, LEAST_S))
    return stored


def _head(to: str) -> Work[int]:
    """The offset of the last message; 0 where there is none."""
    try:
        return (yield from read_page(to, None, None, 1)).head
    except CallFailed as error:
        if error.code != ErrorCode.NO_SUCH_CONVERSATION:
            raise
        return 0


def _find(to: str, body: bytes, me: str, behind: int) -> Work[Stored | None]:
    while True:
        try:
            page = yield from read_page(to, behind, None, PAGE)
        except CallFailed as error:
            if error.code != ErrorCode.NO_SUCH_CONVERSATION:
                raise
            return None
        for message in page.messages:
            if message.sender == me and message.content_type == FILE and message.body == body:
                return Stored(message.id, message.conversation, message.offset, message.time)
        if not page.messages:
            return None
        behind = page.messages[-1].offset
