"""What strangers send, and what they get: one CLOSE with a code and a sentence, one line in the log, nothing else."""

import struct

import pytest

from relay.protocol.codes import CloseCode, Retry, retry_after_close
from relay.protocol.limits import FRAME_MAX_BEFORE_LOGIN
from relay.protocol.packets import Challenge
from tests.integration.samples import Sample, before_login, frame, hello, packed
from tests.integration.stage import Stage

SAMPLES = before_login()


@pytest.mark.parametrize("sample", SAMPLES, ids=[sample.name for sample in SAMPLES])
def test_a_stranger_is_told_why_and_turned_away(stage: Stage, sample: Sample) -> None:
    peer = stage.connect()
    peer.send_bytes(sample.data)
    close = peer.closing()
    assert (close.code, close.retry_ms) == (sample.code, None)
    assert sample.words in close.sentence
    assert retry_after_close(close.code) is Retry.NEVER
    stage.one_log_line(peer, "WARNING", close.sentence)


def test_the_same_byte_by_byte(stage: Stage) -> None:
    for sample in SAMPLES:
        if len(sample.data) < 300:
            peer = stage.connect()
            for byte in sample.data[:-1]:
                peer.send_bytes(bytes([byte]))
                if peer.has_news():
                    break
            else:
                peer.send_bytes(sample.data[-1:])
            assert peer.closing().code == sample.code, sample.name


def test_a_frame_as_long_as_the_limit_is_accepted(stage: Stage) -> None:
    elements = hello()
    padding = FRAME_MAX_BEFORE_LOGIN - len(packed(elements)) - 3
    peer = stage.connect()
    peer.send_bytes(frame(packed([*elements, "x" * padding])))
    assert isinstance(peer.packet(), Challenge)


def test_an_announced_frame_is_refused_before_it_comes(stage: Stage) -> None:
    peer = stage.connect()
    peer.send_bytes(struct.pack(">I", FRAME_MAX_BEFORE_LOGIN + 1))
    assert peer.closing().code == CloseCode.BAD_FRAME


def test_what_follows_bad_input_is_not_looked_at(stage: Stage) -> None:
    peer = stage.connect()
    peer.send_bytes(frame(packed([5, 1])) + frame(packed(hello())) + b"GET / HTTP/1.1\r\n" * 1000)
    assert peer.closing().code == CloseCode.NOT_ALLOWED_NOW


def test_packets_behind_hello_wait_for_the_challenge(stage: Stage) -> None:
    peer = stage.connect()
    peer.send_bytes(frame(packed(hello())) * 2)
    assert isinstance(peer.packet(), Challenge)
    assert peer.closing().code == CloseCode.NOT_ALLOWED_NOW


@pytest.mark.parametrize("data", [b"", b"\0", struct.pack(">I", 100) + b"half"], ids=["nothing", "a byte", "a half"])
def test_one_who_leaves_costs_a_line(stage: Stage, data: bytes) -> None:
    peer = stage.connect()
    peer.send_bytes(data)
    peer.close()
    stage.one_log_line(peer, "INFO", "left before it logged in")


def test_one_who_leaves_after_the_challenge_costs_a_line(stage: Stage) -> None:
    peer = stage.connect()
    peer.send_bytes(frame(packed(hello())))
    assert isinstance(peer.packet(), Challenge)
    peer.close()
    stage.one_log_line(peer, "INFO", "left during login")
