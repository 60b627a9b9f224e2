"""The terminal of `relay exec -t`: raw, restored, and the way out of it."""

import os
import pty
import termios

import pytest

from relay.cli.terminal import Escape, raw, size


def test_raw_and_as_it_was() -> None:
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    with raw(slave) as restore:
        assert not termios.tcgetattr(slave)[3] & (termios.ICANON | termios.ISIG | termios.ECHO)
        restore()
        assert termios.tcgetattr(slave) == before
    with pytest.raises(ZeroDivisionError), raw(slave):
        raise ZeroDivisionError
    assert termios.tcgetattr(slave) == before
    os.close(master)
    with raw(pty.openpty()[1]) as restore:
        pass
    os.close(slave)
    restore()


def test_a_terminal_that_is_gone_is_not_restored() -> None:
    master, slave = pty.openpty()
    with raw(slave):
        os.close(master)
    os.close(slave)


def test_the_size_is_known_or_zero() -> None:
    rows, columns = size()
    assert rows >= 0 and columns >= 0


@pytest.mark.parametrize(
    ("typed", "sent"),
    [
        ([b"ls\r", b"~."], [b"ls\r", None]),
        ([b"~", b"."], [b"", None]),
        ([b"ls\r~."], [None]),
        ([b"~~x"], [b"~x"]),
        ([b"~", b"x"], [b"", b"~x"]),
        ([b"a~."], [b"a~."]),
        ([b"~\r~", b"."], [b"~\r", None]),
        ([b"\xc3\xbc\n", b"~a~."], [b"\xc3\xbc\n", b"~a~."]),
        ([b"\x03", b"~."], [b"\x03", b"~."]),
    ],
)
def test_the_way_out(typed: list[bytes], sent: list[bytes | None]) -> None:
    escape = Escape()
    assert [escape.feed(keys) for keys in typed] == sent
