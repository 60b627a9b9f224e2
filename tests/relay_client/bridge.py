"""A connection that can be cut: a port in front of a relay, which passes bytes on until it is told to cut."""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Bridge:
    """Listens at `address` and passes on to `target`, which may change. `cuts`: how often something was cut.
    `on_spent`: what is done in place of a cut when the bytes have passed."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.passed = 0
        self.cuts = 0
        self.on_spent: Callable[[], None] = self.cut
        self._planned: list[int] = []
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        self.cut()

    def cut_after(self, *sizes: int) -> None:
        """Cut once so many more bytes have passed, in both directions together; and again after so many more."""
        with self._lock:
            self._planned = list(sizes)

    def cut(self) -> None:
        """Reset all connections."""
        with self._lock:
            pairs, self._pairs = self._pairs, set()
        self.cuts += bool(pairs)
        for end in (end for pair in pairs for end in pair):
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                end.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                host, _, port = self.target.rpartition(":")
                try:
                    far = socket.create_connection((host, int(port)), timeout=10)
                except OSError:
                    near.close()
                    continue
                far.settimeout(None)
                for end in (near, far):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                pair = (near, far)
                with self._lock:
                    self._pairs.add(pair)
                threads = [threading.Thread(target=self._pass, args=ends, daemon=True) for ends in (pair, pair[::-1])]
                threading.Thread(target=self._end, args=(pair, threads), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if self._is_spent(len(data)):
                    self.on_spent()
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def _is_spent(self, size: int) -> bool:
        with self._lock:
            self.passed += size
            if self._planned:
                self._planned[0] -= size
            if not self._planned or self._planned[0] >= 0:
                return False
            del self._planned[0]
            return True

    def _end(self, pair: tuple[socket.socket, socket.socket], threads: list[threading.Thread]) -> None:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with self._lock:
            self._pairs.discard(pair)
        for end in pair:
            end.close()
