"""A web server behind a tunnel, under a real load generator: `python -m loadtest.tunnel`.

nginx (or `python -m http.server`) serves a page; `ab` asks for it directly and through `relay expose` and `relay
forward` on a relay of their own, in turns. Every request has to succeed; what the tunnel adds is printed.
"""

import argparse
import contextlib
import csv
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from loadtest.accounts import add_accounts
from loadtest.processes import Child, ProcessError, Relay, free_port

PASSWORD = "tunnelled"  # noqa: S105 - of accounts in a temporary directory
PAGE_BYTES = 4096
START_S = 30.0
STOP_S = 10.0
_POLL_S = 0.02

NGINX = """
daemon off; master_process off; pid {home}/nginx.pid; error_log {home}/nginx.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 100000000;
  client_body_temp_path {home}/t1; proxy_temp_path {home}/t2; fastcgi_temp_path {home}/t3;
  uwsgi_temp_path {home}/t4; scgi_temp_path {home}/t5;
  server {{ listen 127.0.0.1:{port} backlog=1024; root {home}/site; }}
}}
"""


class Load(NamedTuple):
    """So many requests, `together` at a time, on connections that are kept or on one each."""

    name: str
    requests: int
    together: int
    kept: bool


class Outcome(NamedTuple):
    """What a load generator found."""

    complete: int
    failed: int
    per_s: float
    p50_ms: float
    p99_ms: float

    def __str__(self) -> str:
        figures = f"p50 {self.p50_ms:.2f} ms, p99 {self.p99_ms:.2f} ms, {self.per_s:,.0f} requests/s"
        return f"{self.complete:,} requests, {self.failed} failed; {figures}"


def loads(requests: int) -> list[Load]:
    """One at a time for what a tunnel adds to a request; many for whether it holds."""
    return [
        Load("one at a time", min(requests, 5_000), 1, True),
        Load("50 at once", requests, 50, True),
        Load("50 at once, a connection each", requests, 50, False),
    ]


def measure(port: int, load: Load, directory: Path) -> Outcome:
    """Have ab ask for the page. Raises ProcessError if it gives up."""
    table = directory / "percentiles.csv"
    command = ["ab", "-q", "-r", "-n", str(load.requests), "-c", str(load.together), "-e", str(table)]
    command += ["-k"] if load.kept else []
    done = subprocess.run(
        [*command, f"http://127.0.0.1:{port}/page"], capture_output=True, text=True, check=False, timeout=600
    )
    if done.returncode:
        raise ProcessError(f"ab gave up: {done.stderr.strip()[-300:]}")

    def number(name: str) -> float:
        found = re.search(rf"^{name}:\s+([\d.]+)", done.stdout, re.MULTILINE)
        return float(found[1]) if found else 0.0

    with table.open() as lines:
        percentiles = {row[0]: float(row[1]) for row in csv.reader(lines) if row[0].isdigit()}
    failed = int(number("Failed requests") + number("Non-2xx responses"))
    complete = int(number("Complete requests"))
    return Outcome(complete, failed, number("Requests per second"), percentiles["50"], percentiles["99"])


@contextlib.contextmanager
def tunnelled(directory: Path) -> Iterator[tuple[int, int]]:
    """A web server, directly and through a tunnel: two ports. Raises ProcessError."""
    (directory / "site").mkdir()
    (directory / "site" / "page").write_bytes(b"x" * PAGE_BYTES)
    add_accounts(directory / "data", ["web", "guest"], PASSWORD)
    with contextlib.ExitStack() as stack:
        port = free_port()
        _start(stack, "the web server", _web_server(directory, port), directory)
        relay = Relay(directory, ["--log-level", "warning"])
        stack.callback(relay.child.stop, STOP_S)

        def end(user: str, *words: str) -> Child:
            url = {"RELAY_URL": f"relay://{user}:{PASSWORD}@127.0.0.1:{relay.port}"}
            return _start(stack, words[0], [sys.executable, "-m", "relay", *words], directory, url)

        _await(end("web", "expose", str(port), "--as", "site", "--to", "guest"), "exposing (.*) as")
        place = _await(end("guest", "forward", "web/site", "0"), r"listening on 127\.0\.0\.1:(\d+)")
        yield port, int(place)


def _start(
    stack: contextlib.ExitStack, name: str, command: list[str], directory: Path, environ: dict[str, str] | None = None
) -> Child:
    child = Child(
        name, command, directory / f"{name.rpartition(' ')[2]}.log", {"PYTHONUNBUFFERED": "1"} | (environ or {})
    )
    stack.callback(child.stop, STOP_S)
    return child


def _web_server(directory: Path, port: int) -> list[str]:
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if nginx is None:
        site = str(directory / "site")
        return [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", site]
    configuration = directory / "nginx.conf"
    configuration.write_text(NGINX.format(home=directory, port=port))
    return [nginx, "-c", str(configuration), "-p", str(directory)]


def _await(child: Child, pattern: str) -> str:
    """What stands at the group of the pattern, as soon as it is in the log."""
    deadline_at = time.monotonic() + START_S
    while (found := re.search(pattern, child.log.read_text())) is None:
        if not child.running or time.monotonic() > deadline_at:
            raise ProcessError(child.how_it_ended())
        time.sleep(_POLL_S)
    return found[1]


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 1 if a request failed."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.tunnel", description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000, help="of each load (%(default)s)")
    options = parser.parse_args(arguments)
    if shutil.which("ab") is None:
        parser.error("ab is not installed (apt install apache2-utils)")
    lost = 0
    with tempfile.TemporaryDirectory(prefix="relay-tunnel-") as name, tunnelled(Path(name)) as (direct, tunnel):
        print(f"{PAGE_BYTES} bytes a page; {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}", flush=True)
        for load in loads(options.requests):
            plain, through = (measure(port, load, Path(name)) for port in (direct, tunnel))
            lost += load.requests - through.complete + through.failed
            added = f"the tunnel adds {through.p50_ms - plain.p50_ms:.2f} ms (p50)"
            print(f"{load.name}: {added}\n  directly:        {plain}\n  through it:      {through}", flush=True)
    print("no request failed" if not lost else f"{lost} REQUESTS FAILED")
    return int(bool(lost))


if __name__ == "__main__":
    sys.exit(main())
