"""Tunnels: a port or a Unix socket of one machine, reached from another through the relay.

    exposure = Exposure(client, "web", parse_place("8080"), frozenset({"bob"}))     # where the web server runs
    forward = Forward(client, parse_tunnel("alice-server/web"), parse_place("9090"))    # where it is wanted

Both work on a `relay_client.aio.Client` that is connected. docs/tunnels.md tells what goes over the wire.
"""

from relay_tunnel.expose import Exposure
from relay_tunnel.forward import Forward
from relay_tunnel.names import TunnelAddress, checked_name, parse_tunnel, service_of
from relay_tunnel.places import Place, PlaceError, parse_place

__all__ = [
    "Exposure",
    "Forward",
    "Place",
    "PlaceError",
    "TunnelAddress",
    "checked_name",
    "parse_place",
    "parse_tunnel",
    "service_of",
]
