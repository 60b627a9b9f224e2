"""A session, and the tests' own recording, are what the router calls a subscriber."""

import inspect
from collections.abc import Callable

import pytest

from relay.router.subscriber import Outlet, Subscriber
from relay.session.outbox import Outbox
from relay.session.session import Session
from tests.router.recording import RecordingOutlet, RecordingSubscriber


def methods(protocol: type) -> dict[str, Callable[..., object]]:
    return {name: method for name, method in inspect.getmembers(protocol, inspect.isfunction) if name[0] != "_"}


@pytest.mark.parametrize(
    ("protocol", "kind"),
    [(Outlet, Outbox), (Outlet, RecordingOutlet), (Subscriber, Session), (Subscriber, RecordingSubscriber)],
)
def test_methods_take_what_the_interface_says(protocol: type, kind: type) -> None:
    assert methods(protocol)
    for name, method in methods(protocol).items():
        assert list(inspect.signature(getattr(kind, name)).parameters) == list(inspect.signature(method).parameters)


def test_a_recording_has_every_attribute_the_router_may_use() -> None:
    session = RecordingSubscriber("alice")
    for name in Subscriber.__annotations__:
        assert hasattr(session, name), name
    assert {*Subscriber.__annotations__, "outlet"} <= {*Session.__slots__}
