"""Test tool: a self-signed certificate, made once for a run of the tests by the `openssl` command."""

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest


class Certificate(NamedTuple):
    """PEM files."""

    cert: Path
    key: Path


def make_certificate(directory: Path, name: str = "localhost") -> Certificate:
    """A certificate for `name` and 127.0.0.1, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("the command openssl is not installed")
    directory.mkdir(parents=True, exist_ok=True)
    made = Certificate(directory / "cert.pem", directory / "key.pem")
    subprocess.run(
        (
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "2", "-keyout", str(made.key), "-out", str(made.cert), "-subj", f"/CN={name}"),
            *("-addext", f"subjectAltName=DNS:{name},IP:127.0.0.1"),
        ),
        check=True,
        capture_output=True,
    )
    return made
