"""Bytes in, bytes out: where the relay listens, and the sockets of its connections."""
