"""amqtt: an MQTT broker in Python, on asyncio."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

from loadtest.bench.dialects.base import Dialect, Place
from loadtest.bench.dialects.mqtt import MqttDialect

_CONFIG = """
listeners:
  default:
    type: tcp
    bind: 127.0.0.1:{port}
    max_connections: 100000
plugins:
  amqtt.plugins.authentication.AnonymousAuthPlugin:
    allow_anonymous: true
"""


class AmqttDialect(MqttDialect):
    """Beside this Python, or wherever it is on the path."""

    name: ClassVar[str] = "amqtt"
    install: ClassVar[str] = f"{sys.executable} -m pip install amqtt"
    kinds: ClassVar[frozenset[str]] = Dialect.kinds

    def version(self) -> str | None:
        path = _find()
        if path is None:
            return None
        out = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
        return out.stdout.strip().split()[-1] if out.stdout.strip() else "?"

    def command(self, place: Place) -> list[str]:
        file = place.directory / "amqtt.yaml"
        file.write_text(_CONFIG.format(port=place.port))
        path = _find()
        assert path is not None
        return [path, "-c", str(file)]


def _find() -> str | None:
    return shutil.which("amqtt", path=str(Path(sys.executable).parent)) or shutil.which("amqtt")
