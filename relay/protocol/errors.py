"""The two ways a conversation on the wire goes wrong: they broke the rules, or we did.

`RemoteError` is an event of normal operation: it closes one connection with a code. `LocalError` is a bug in the
program that uses the protocol code, and is meant to be loud.
"""

from relay.protocol.codes import CloseCode


class LocalError(Exception):
    """The program asked for something the protocol does not allow."""


class RemoteError(Exception):
    """The peer broke the protocol; the connection has to end with `code` and the sentence."""

    def __init__(self, code: CloseCode, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence
