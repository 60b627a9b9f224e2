"""The caller's end of a run, with an agent of the test's own that says what agents should not."""

import msgpack
import pytest
from relay_agent.execution import Execution, offered_commands
from relay_agent.records import Exit, Grant, Signal, Stdin, Stdout, encode
from relay_client import Client, Stream, StreamClosed, StreamReset

from relay.protocol.codes import ErrorCode
from relay.protocol.frames import encode_frame
from tests.relay_client.peer import DEADLINE_S
from tests.relay_client.town import Town


@pytest.fixture
def bob(town: Town) -> Client:
    return Client(town.url("bob"), timeout=DEADLINE_S)


def test_what_an_agent_says(alice: Client, bob: Client) -> None:
    heard = []

    def serve(stream: Stream) -> None:
        stream.write(encode_frame(msgpack.packb([99, "of a later version"])) + encode(Grant(3)))
        heard.append(stream.read(len(encode(Stdin(b"abc")))))
        stream.write(encode(Stdout(b"x")) + encode(Exit(1, "", 0, "")))

    with bob:
        bob.serve_stream("exec", serve)
        with Execution(alice, "bob", "any") as execution:
            assert execution.peer == bob.session
            assert execution.wait_granted(0.01) in {0, 3}
            records = iter(execution)
            execution._grant(0)
            execution._granted = 3  # what the iteration will hear
            execution.write_stdin(b"abc")
            assert list(records) == [Stdout(b"x"), Exit(1, "", 0, "")]
            assert execution.wait_granted() == 0
            execution.signal("TERM")  # nothing happens any more
        assert heard == [encode(Stdin(b"abc"))]


@pytest.mark.parametrize("said", [b"\0\0\0\1\xc1", b"\xff\xff\xff\xff", encode(Signal("INT"))])
def test_what_is_no_record(alice: Client, bob: Client, said: bytes) -> None:
    with bob:
        bob.serve_stream("exec", lambda stream: (stream.write(said), stream.read()))
        with pytest.raises(StreamReset) as reset:
            list(Execution(alice, "bob", "any"))
        assert reset.value.code == ErrorCode.MALFORMED


def test_an_agent_that_says_no_end(alice: Client, bob: Client) -> None:
    with bob:
        bob.serve_stream("exec", lambda stream: stream.accept())
        with pytest.raises(StreamReset, match="left without saying how it ended"):
            list(Execution(alice, "bob", "any"))


def test_giving_up(alice: Client, bob: Client) -> None:
    with bob:
        bob.serve_stream("exec", lambda stream: stream.read())
        execution = Execution(alice, "bob", "any")
        execution.close()
        with pytest.raises(StreamClosed):
            list(execution)


@pytest.mark.parametrize("answer", [None, "x", [1], [{"name": 1}]])
def test_offers_that_are_none(alice: Client, bob: Client, answer: object) -> None:
    with bob:
        bob.serve("exec.commands", lambda call: answer)
        assert offered_commands(alice, "bob") == []
