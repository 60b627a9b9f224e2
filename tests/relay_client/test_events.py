"""What happens to a connection is in the log."""

import logging

import pytest
from relay_client.errors import ClientClosed
from relay_client.events import (
    Complaint,
    Connected,
    Disconnected,
    Ended,
    Event,
    GapNoticed,
    Notice,
    SignalsDropped,
    log_event,
)


@pytest.mark.parametrize(
    ("event", "level", "text"),
    [
        (Disconnected("cut", 0.5), logging.WARNING, "alice/laptop: cut; connecting again in 0.5 s"),
        (GapNoticed("alice@bob", 2, 4, told=True), logging.WARNING, "messages 2 to 4 of alice@bob"),
        (SignalsDropped(5), logging.WARNING, "5 signals were dropped"),
        (Notice("something new", {}), logging.DEBUG, "something new"),
        (Complaint(300, "slower"), logging.WARNING, "slower (300)"),
        (Connected("alice/laptop", again=True), logging.DEBUG, "Connected"),
        (Ended(ClientClosed("closed")), logging.DEBUG, "Ended"),
    ],
)
def test_events_are_logged(event: Event, level: int, text: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "relay_client")
    log_event("alice/laptop", event)
    (record,) = caplog.records
    assert record.levelno == level and text in record.getMessage()
