"""Files of the blocking client: carries out what the steps of relay_client.files want done."""

import time
from typing import TYPE_CHECKING, Any

from relay_client.blocking.streams import Stream
from relay_client.files.effects import OpenStream, Pause, Read, Run, Send, Serve, Tell, Work, Write
from relay_client.questions import Question, Steps

if TYPE_CHECKING:
    from relay_client.blocking.client import Client


class FileWork:
    """Runs steps in the thread that asks for them."""

    def __init__(self, client: "Client") -> None:
        self._client = client
        self.user = client.user
        self.place = client.place

    def run_steps(self, steps: Work[Any]) -> Any:
        """Run the steps to their end; what they return."""
        try:
            effect = next(steps)
            while True:
                try:
                    outcome = self._carry_out(effect)
                except BaseException as error:
                    effect = steps.throw(error)
                else:
                    effect = steps.send(outcome)
        except StopIteration as end:
            return end.value

    def _carry_out(self, effect: Any) -> Any:
        client = self._client
        match effect:
            case Run(function):
                return function()
            case Read(Stream() as stream):
                return stream.read1()
            case Write(Stream() as stream, data):
                return stream.write(data)
            case OpenStream(to, service, data):
                return client.streams.open(to, service, data)
            case Send(to, content_type, body, timeout_s):
                return client.send(to, body, content_type=content_type, timeout=timeout_s)
            case Pause(duration_s):
                return time.sleep(duration_s)
            case Tell(function, subject):
                return function(subject)
            case Serve(service, make_steps):
                return client.serve_stream(service, lambda stream: self.run_steps(make_steps(stream)))
            case Question():
                return client.run_steps(_only(effect))
        raise AssertionError(f"no such effect: {effect!r}")


def _only(question: Question) -> Steps[Any]:
    return (yield question)
