"""A web server that listens on no port: it serves a directory to people who come through a tunnel.

    relay user add --bot www                      # prints a secret, once
    WEB_ROOT=./site RELAY_URL=relay://www:SECRET@127.0.0.1 relay bot clients/bots/web_server.py

Then, as somebody else: `relay forward www/site 9090`, and http://127.0.0.1:9090 in a browser. Everybody with an account
on the relay may read everything in the directory (default: the current one), and nothing outside of it.
"""

import io
import logging
import os
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

from relay_client import Bot, Stream

log = logging.getLogger("web_server")

# A connection that is kept alive keeps its thread, too: browsers make six, and are told to go after IDLE_S seconds.
bot = Bot(threads=64)
IDLE_S = 10.0


class StreamFile(io.RawIOBase):
    """A stream as the standard library's buffers want it."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._stream.readinto(buffer)

    def write(self, data: Any) -> int:
        return self._stream.write(data)


class Pages(SimpleHTTPRequestHandler):
    """Answers the requests of one stream. `request` is the stream."""

    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        file = StreamFile(self.request)
        self.rfile = io.BufferedReader(file)
        self.wfile = io.BufferedWriter(file)

    def finish(self) -> None:
        self.wfile.flush()

    def send_head(self) -> Any:
        """Only what lies in the directory: a link that leads out of it is not there."""
        if not Path(self.translate_path(self.path)).resolve().is_relative_to(self.directory):
            self.send_error(404, "File not found")
            return None
        return super().send_head()

    def log_message(self, format: str, *args: Any) -> None:
        log.info("%s: %r", self.client_address[0], format % args)


@bot.stream("tunnel.site")
def serve(stream: Stream) -> None:
    """One connection of a browser."""
    stream.timeout = IDLE_S
    root = Path(os.environ.get("WEB_ROOT", ".")).resolve()
    Pages(stream, (stream.peer, 0), None, directory=str(root))  # type: ignore[arg-type]


if __name__ == "__main__":
    bot.run()
