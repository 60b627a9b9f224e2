"""Load on a relay: `run` and `locustfile` are the load test, `bench` measures what a message costs."""
