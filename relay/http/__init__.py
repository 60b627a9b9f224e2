"""What browsers and health checks get on the relay's port: requests, up to the WebSocket that leads to a session."""
