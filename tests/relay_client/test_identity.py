"""From a URL and a device to who logs in."""

import re

import pytest
from relay_client.errors import BadAddress, BadUrl
from relay_client.identity import identify, temporary_device


def test_names_are_prepared() -> None:
    identity, endpoint = identify("relay://Alice:s@h", "LapTop", None)
    assert (identity.user, identity.device, endpoint.place) == ("alice", "laptop", "h:7450")
    assert len(identity.agent.encode()) <= 64


def test_temporary_devices_differ_and_say_that_they_are_temporary() -> None:
    names = {temporary_device() for _ in range(100)}
    assert len(names) == 100 and all(re.fullmatch("~[a-z2-7]{8}", name) for name in names)
    assert identify("relay://alice:s@h", None, None)[0].device.startswith("~")


@pytest.mark.parametrize("device", ["", "a b", "a/b", "x" * 65])
def test_a_device_needs_a_name(device: str) -> None:
    with pytest.raises(BadAddress, match="device"):
        identify("relay://alice:s@h", device, None)


def test_a_password_that_cannot_be_used_is_told_before_connecting() -> None:
    with pytest.raises(BadUrl, match="cannot be used"):
        identify("relay://alice@h", None, "a\x07b")


def test_an_identity_does_not_show_its_password() -> None:
    assert "hush" not in repr(identify("relay://alice:hush@h", None, None))
