"""The files of the chat page as they are committed: small, whole, and what the sources build."""

import gzip
import json
import re
from pathlib import Path

from tests.web.node import needs_node, run_node

SITE = Path(__file__).parents[2] / "relay/http/site"
FIRST_LOAD_MAX_BYTES = 150_000


def compressed_bytes(path: Path) -> int:
    """What crosses the network for it."""
    packed = path.with_name(path.name + ".br")
    return (packed if packed.exists() else path).stat().st_size


@needs_node
def test_what_is_committed_is_what_the_sources_build() -> None:
    done = run_node("build.mjs", "--check")
    assert done.returncode == 0, done.stderr


@needs_node
def test_the_types_are_right() -> None:
    done = run_node("node_modules/typescript/bin/tsc", "--project", "chat/tsconfig.json")
    assert done.returncode == 0, done.stdout


def test_the_first_load_is_small() -> None:
    names = json.loads((SITE / "manifest.json").read_text())["files"]
    assert sum(compressed_bytes(SITE / name) for name in names) < FIRST_LOAD_MAX_BYTES


def test_the_page_names_its_files_and_nothing_else() -> None:
    """No third party, nothing inline: what the relay's Content-Security-Policy would refuse."""
    page = (SITE / "index.html").read_text()
    addresses = re.findall(r'(?:src|href|data-\w+)="([^"]*)"', page)
    assert addresses
    for address in addresses:
        assert address.startswith("/assets/")
        assert (SITE / address[1:]).is_file()
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", page)


def test_styles_ask_for_nothing_from_elsewhere() -> None:
    for style in SITE.glob("assets/*.css"):
        for address in re.findall(r"url\(([^)]*)\)|@import\s+(\S+)", style.read_text()):
            assert "".join(address).strip("\"'").startswith("/assets/")


def test_compressed_files_hold_the_same() -> None:
    packed = list(SITE.rglob("*.gz"))
    assert packed
    for path in packed:
        assert gzip.decompress(path.read_bytes()) == path.with_suffix("").read_bytes()
