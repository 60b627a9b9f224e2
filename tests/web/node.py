"""Node and the modules of clients/web, or the reason why these tests are skipped."""

import shutil
import subprocess
from pathlib import Path

import pytest

WEB = Path(__file__).parents[2] / "clients/web"
DEADLINE_S = 120.0


def missing() -> str:
    """What is missing to run the browser's modules in Node; empty if nothing is."""
    if shutil.which("node") is None:
        return "there is no node"
    if not (WEB / "node_modules/ws").exists():
        return "clients/web/node_modules is missing: make web-modules"
    return ""


needs_node = pytest.mark.skipif(bool(missing()), reason=missing())


def run_node(*words: str) -> subprocess.CompletedProcess[str]:
    """Run node in clients/web to its end. Never raises for an exit code."""
    return subprocess.run(
        ("node", *words), cwd=WEB, capture_output=True, text=True, timeout=DEADLINE_S, check=False, encoding="utf-8"
    )
