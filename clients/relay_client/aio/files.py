"""Files of the asyncio client: carries out what the steps of relay_client.files want done, disks in threads."""

import asyncio
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from relay_client.aio.streams import Stream
from relay_client.files.effects import OpenStream, Pause, Read, Run, Send, Serve, Tell, Work, Write
from relay_client.questions import Question, Steps

if TYPE_CHECKING:
    from relay_client.aio.client import Client


class FileWork:
    """Runs steps in the task that awaits them."""

    def __init__(self, client: "Client") -> None:
        self._client = client
        self.user = client.user
        self.place = client.place

    async def run_steps(self, steps: Work[Any]) -> Any:
        """Run the steps to their end; what they return."""
        try:
            effect = next(steps)
            while True:
                try:
                    outcome = await self._carry_out(effect)
                except BaseException as error:
                    effect = steps.throw(error)
                else:
                    effect = steps.send(outcome)
        except StopIteration as end:
            return end.value

    async def _carry_out(self, effect: Any) -> Any:
        client = self._client
        match effect:
            case Run(function, may_be_left):
                return await _in_thread(function, may_be_left)
            case Read(Stream() as stream):
                return await stream.read1()
            case Write(Stream() as stream, data):
                return await stream.write(data)
            case OpenStream(to, service, data):
                return await client.streams.open(to, service, data)
            case Send(to, content_type, body, timeout_s):
                return await client.send(to, body, content_type=content_type, timeout=timeout_s)
            case Pause(duration_s):
                return await asyncio.sleep(duration_s)
            case Tell(function, subject):
                result = function(subject)
                return await result if inspect.isawaitable(result) else result
            case Serve(service, make_steps):
                return await client.serve_stream(service, lambda stream: self.run_steps(make_steps(stream)))
            case Question():
                return await client.run_steps(_only(effect))
        raise AssertionError(f"no such effect: {effect!r}")


async def _in_thread(function: Callable[[], Any], may_be_left: bool) -> Any:
    """A thread cannot be cancelled: who cancels waits for it, so that nobody closes a file that it writes to."""
    running = asyncio.ensure_future(asyncio.to_thread(function))
    if may_be_left:
        return await running
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


def _only(question: Question) -> Steps[Any]:
    return (yield question)
