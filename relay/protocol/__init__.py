"""The wire: frames, packets, addresses, codes, login. Pure code, the same for the relay and its clients."""
