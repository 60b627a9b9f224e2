"""What `import relay_client` brings, and what it does not."""

import subprocess
import sys

import pytest
import relay_client


def run(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.strip()


def test_every_public_name_is_there() -> None:
    assert all(hasattr(relay_client, name) for name in relay_client.__all__)
    assert relay_client.__all__ == sorted(relay_client.__all__)


@pytest.mark.parametrize("module", ["asyncio", "gevent", "concurrent.futures", "multiprocessing"])
def test_importing_it_does_not_bring_what_a_blocking_client_does_not_need(module: str) -> None:
    assert run(f"import sys, relay_client; print({module!r} in sys.modules)") == "False"


def test_importing_it_starts_nothing() -> None:
    assert run("import threading, relay_client, relay_client.aio; print(threading.active_count())") == "1"


def test_the_asyncio_client_is_there_when_it_is_asked_for() -> None:
    assert run("import relay_client; print(relay_client.aio.Client.__name__)") == "Client"
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = relay_client.no_such_name
