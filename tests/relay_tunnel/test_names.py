"""What tunnels are called."""

import pytest
from relay_client import BadAddress
from relay_tunnel.names import TunnelAddress, checked_name, parse_tunnel, service_of


def test_a_tunnel_is_a_users_or_a_devices() -> None:
    assert parse_tunnel("alice-server/web") == TunnelAddress("alice-server", "web")
    assert parse_tunnel("Alice/PC/web.2") == TunnelAddress("alice/pc", "web.2")
    assert str(parse_tunnel("alice/pc/web")) == "alice/pc/web"


@pytest.mark.parametrize("text", ["", "web", "/web", "alice/", "a/b/c/d", "al ice/web", "#room/web", "alice/we b"])
def test_what_is_no_tunnel_is_refused(text: str) -> None:
    with pytest.raises(BadAddress):
        parse_tunnel(text)


@pytest.mark.parametrize("name", ["", "-v", ".", "a/b", "ä", "a" * 57, "a\n"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(BadAddress, match="no name for a tunnel"):
        checked_name(name)


def test_every_name_fits_into_a_service() -> None:
    assert service_of("web") == "tunnel.web"
    assert len(service_of("a" * 56)) <= 64
