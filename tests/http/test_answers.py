"""What all answers have in common."""

import pytest

from relay.http.answers import page, page_headers, say


def test_a_sentence_is_text_that_nobody_keeps_or_sniffs() -> None:
    answer = say(404, "there is nothing", (("X-More", "1"),), last=True)
    headers = dict(answer.headers)
    assert (answer.status, answer.body, answer.last) == (404, b"there is nothing\n", True)
    assert headers["Content-Type"] == "text/plain; charset=utf-8"
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-More"] == "1"


def test_a_page_is_html_under_the_policy() -> None:
    headers = dict(page(b"<p>", "relay.test").headers)
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert "connect-src 'self' ws://relay.test wss://relay.test;" in headers["Content-Security-Policy"]


@pytest.mark.parametrize("host", ["", "a b", "x; script-src *", "x\ny", "a" * 300, "münchen", "*"])
def test_a_strange_host_does_not_get_into_the_policy(host: str) -> None:
    policy = dict(page_headers(host))["Content-Security-Policy"]
    assert "connect-src 'self';" in policy
    assert policy.count("script-src") == 1
