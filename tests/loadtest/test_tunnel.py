"""The proof of tunnels, in small: every request succeeds, and the report says so."""

import shutil

import pytest

from loadtest.tunnel import Load, loads, main


@pytest.mark.skipif(not shutil.which("ab"), reason="ab is not installed")
def test_no_request_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--requests", "300"]) == 0
    out = capsys.readouterr().out
    assert out.count("through it:      300 requests, 0 failed") == 3
    assert "50 at once, a connection each: the tunnel adds" in out and out.endswith("no request failed\n")


def test_single_requests_are_few() -> None:
    assert loads(100_000)[0] == Load("one at a time", 5_000, 1, True)
    assert {load.requests for load in loads(100_000)[1:]} == {100_000}
