"""What streams cost the relay, and what others notice of them, beside socat in one run: `python -m loadtest.streams`.

`pumps` fill and empty connections in processes of their own, at so little cost that the relay is what is measured;
`carriers` are the relay and socat with their connections; `chat` talks beside; `rounds` measures.
"""
