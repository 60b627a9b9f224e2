"""The structure of the source: who may import whom, what mirrors what, and what a module must not be called.

docs/architecture.md shows the same table to people; a new edge is a decision, made here and there.
"""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import relay

ROOT = Path(__file__).parents[1]


class Layer(NamedTuple):
    """What a part of the source may import: parts of ours, and packages of others."""

    ours: frozenset[str]
    others: frozenset[str]


def layer(*names: str, others: str = "") -> Layer:
    return Layer(frozenset(names), frozenset(others.split()))


# A module belongs to the longest name here that it begins with. Its own part may always be imported. Names below
# without a dot at their end stand for everything inside them, too.
LAYERS = {
    "relay": layer(),
    "relay.protocol": layer(others="msgpack scramp precis_i18n"),
    "relay.transport": layer(others="gevent wsproto websockets"),
    "relay.http": layer("relay.transport", others="gevent h11 wsproto"),
    "relay.store": layer("relay.protocol", others="apsw"),
    "relay.auth": layer("relay.protocol", "relay.store.base"),
    "relay.router": layer("relay.protocol", "relay.store.base", "relay.store.files", others="msgpack"),
    "relay.files": layer(
        "relay.protocol",
        "relay.router",
        "relay.store.base",
        "relay.store.files",
        "relay.store.blobs",
        "relay.hub",
        others="gevent",
    ),
    "relay.session": layer(
        "relay.protocol", "relay.transport", "relay.auth", "relay.router", "relay.store.base", others="gevent"
    ),
    "relay.hub": layer(others="gevent"),
    "relay.config": layer("relay.transport.endpoint"),
    "relay.server": layer("relay", others="gevent"),
    "relay.cli": layer("relay", "relay_client", "relay_chat", "relay_tunnel", "relay_agent", others="click"),
    "relay.__main__": layer("relay.cli", others="gevent"),
    "relay_client": layer("relay.protocol", "relay.__version__"),
    "relay_agent": layer("relay_client", "relay.protocol", others="msgpack"),
    "relay_tunnel": layer("relay_client", "relay.protocol"),
    "relay_chat": layer("relay_client", "relay.protocol", others="textual rich"),
    "bots": layer("relay_client"),
    "loadtest": layer(
        "relay_client",
        "relay.protocol",
        "relay.auth",
        "relay.store",
        "loadtest",
        others="locust gevent msgpack psutil matplotlib",
    ),
}

# Where a package's modules lie, and the directory of its tests.
PLACES = {"relay": ("relay", "tests"), "clients/relay_client": ("relay_client", "tests/relay_client")}
PLACES |= {"clients/relay_agent": ("relay_agent", "tests/relay_agent")}
PLACES |= {"clients/relay_tunnel": ("relay_tunnel", "tests/relay_tunnel")}
PLACES |= {"clients/relay_chat": ("relay_chat", "tests/relay_chat")}
PLACES |= {"clients/bots": ("bots", "tests/bots"), "loadtest": ("loadtest", "tests/loadtest")}

# Modules without a test module of their own name, and where they are tested instead.
TESTED_ELSEWHERE = {
    "relay/__main__.py": "tests/test_structure.py",
    "relay/store/base.py": "tests/store/contract.py",
    "relay/store/files.py": "tests/store/contract_files.py",
    "relay/store/memory_files.py": "tests/store/contract_files.py",
}

FORBIDDEN_NAMES = {"util", "utils", "helper", "helpers", "common", "manager", "managers", "misc", "tools"}
LINES_MAX = 600


def sources() -> dict[Path, str]:
    """Every module of ours: its file, relative to the project, and its dotted name."""
    found = {}
    for place, (package, _) in PLACES.items():
        for path in sorted((ROOT / place).rglob("*.py")):
            inside = path.relative_to(ROOT / place).with_suffix("").parts
            found[path.relative_to(ROOT)] = ".".join((package, *(part for part in inside if part != "__init__")))
    return found


SOURCES = sources()
NAMES = frozenset(SOURCES.values())
by_path = pytest.mark.parametrize("path", SOURCES, ids=str)


def imports_of(path: Path) -> Iterator[str]:
    """The dotted names a file imports, wherever the import stands."""
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute here"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in NAMES or whole == "relay.__version__" else str(node.module)


def inside(name: str, part: str) -> bool:
    return name == part or name.startswith(f"{part}.")


def layer_of(name: str) -> str:
    return max((part for part in LAYERS if inside(name, part)), key=len)


def is_allowed(importer: str, imported: str) -> bool:
    part = layer_of(importer)
    allowed = LAYERS[part]
    top = imported.partition(".")[0]
    if top in sys.stdlib_module_names or top in allowed.others:
        return True
    if imported == "relay" and part != "relay":
        return True  # for its version and its place; it holds nothing else
    own = imported in NAMES and layer_of(imported) == part and part != "relay"
    return own or any(inside(imported, name) for name in allowed.ours)


@by_path
def test_imports_follow_the_table(path: Path) -> None:
    wrong = [imported for imported in imports_of(path) if not is_allowed(SOURCES[path], imported)]
    assert wrong == [], f"{layer_of(SOURCES[path])} must not import these; see docs/architecture.md"


@pytest.mark.parametrize(
    ("importer", "imported", "allowed"),
    [
        ("relay.protocol.frames", "relay.protocol.codes", True),
        ("relay.protocol.frames", "struct", True),
        ("relay.protocol.frames", "gevent", False),
        ("relay.protocol.frames", "relay.store.base", False),
        ("relay.store.sqlite.log", "relay.protocol.limits", True),
        ("relay.store.base", "relay.router.router", False),
        ("relay.router.feed", "relay.store.base", True),
        ("relay.router.feed", "relay.store.sqlite", False),
        ("relay.router.feed", "relay.session.session", False),
        ("relay.session.session", "relay.transport.connection", True),
        ("relay.session.session", "relay.server", False),
        ("relay.transport.listener", "relay.protocol.codes", False),
        ("relay.auth.authenticator", "relay.store.sqlite.store", False),
        ("relay_client.core.core", "relay.protocol.packets", True),
        ("relay_client.core.core", "relay.router.router", False),
        ("relay_client.client", "gevent", False),
        ("relay.server", "relay.store.sqlite", True),
        ("relay", "relay.protocol.codes", False),
    ],
)
def test_the_table_is_read_rightly(importer: str, imported: str, allowed: bool) -> None:
    assert is_allowed(importer, imported) is allowed


def test_only_the_entry_point_patches() -> None:
    patching = [str(path) for path in SOURCES if "patch_all" in (ROOT / path).read_text() and path.parts[0] == "relay"]
    assert patching == ["relay/__main__.py"]


def run_python(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout


PLAIN = [
    "relay",
    "relay.config",
    "relay.cli",
    "relay_client",
    *(
        name
        for name in sorted(NAMES)
        if name.startswith(("relay.protocol", "relay.router", "relay.store", "relay.auth", "relay_agent"))
    ),
]


@pytest.mark.parametrize("name", PLAIN)
def test_importing_patches_nothing_and_brings_no_gevent(name: str) -> None:
    program = (
        "import sys, socket, threading, time, select\n"
        "before = [socket.socket, threading.Lock, threading.Thread.start, time.sleep, select.select]\n"
        f"import {name}\n"
        "after = [socket.socket, threading.Lock, threading.Thread.start, time.sleep, select.select]\n"
        "print(before == after, 'gevent' in sys.modules, 'locust' in sys.modules)"
    )
    assert run_python(program).split() == ["True", "False", "False"]


@pytest.mark.parametrize("foreign", ["apsw", "click", "relay.server", "relay.router", "relay.store", "relay.session"])
def test_the_sdk_brings_nothing_of_the_servers(foreign: str) -> None:
    program = f"import sys, relay_client; print({foreign!r} in sys.modules)"
    assert run_python(program).strip() == "False"


def test_modules(path: Path) -> list[Path]:
    """The test modules that a module may have: its own, or one for the package it lies in, if that is a nested one."""
    place = next(place for place in PLACES if path.is_relative_to(place))
    tests = Path(PLACES[place][1])
    parts = path.relative_to(place).with_suffix("").parts
    if parts[-1] == "__init__":
        parts = parts[:-1]
    own = tests.joinpath(*parts[:-1], f"test_{parts[-1]}.py") if parts else tests / "test_init.py"
    of_packages = [tests.joinpath(*parts[: n - 1], f"test_{parts[n - 1]}.py") for n in range(1, len(parts))]
    return [own, *of_packages]


test_modules.__test__ = False  # type: ignore[attr-defined]


def has_code(path: Path) -> bool:
    """Whether a module does anything, rather than say what its package is for or what an interface demands."""
    functions = (
        node
        for node in ast.walk(ast.parse((ROOT / path).read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    return any(not isinstance(line, ast.Expr | ast.Pass) for function in functions for line in function.body)


@pytest.mark.parametrize("path", [path for path in SOURCES if has_code(path)], ids=str)
def test_every_module_has_a_test_module(path: Path) -> None:
    if str(path) in TESTED_ELSEWHERE:
        assert (ROOT / TESTED_ELSEWHERE[str(path)]).exists()
        return
    wanted = test_modules(path)
    assert any((ROOT / test).exists() for test in wanted), f"none of {', '.join(map(str, wanted))} exists"


def test_exceptions_are_needed() -> None:
    for name in TESTED_ELSEWHERE:
        assert Path(name) in SOURCES
        assert not any((ROOT / test).exists() for test in test_modules(Path(name))), f"{name} has a test module by now"


ALL_FILES = [*SOURCES, *(path.relative_to(ROOT) for path in sorted((ROOT / "tests").rglob("*.py")))]


@pytest.mark.parametrize("path", ALL_FILES, ids=str)
def test_files_are_short_and_say_what_they_are_for(path: Path) -> None:
    text = (ROOT / path).read_text()
    assert text.count("\n") <= LINES_MAX, "more than one thing has gathered here; what is the second one's name?"
    assert not text.strip() or ast.get_docstring(ast.parse(text)), "a module begins with what it is for"


@pytest.mark.parametrize("path", ALL_FILES, ids=str)
def test_names_say_what_a_module_is(path: Path) -> None:
    words = {word for part in path.with_suffix("").parts for word in part.removeprefix("test_").split("_")}
    assert not words & FORBIDDEN_NAMES, "what these have in common is a noun; it is missing here"


def test_the_version_stands_in_one_place() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" in project["project"]["dynamic"]
    assert project["tool"]["hatch"]["version"]["path"] == "relay/__init__.py"
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+|rc\d+)?", relay.__version__)


def test_the_latest_changes_are_those_of_this_version() -> None:
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == relay.__version__


def architecture_table() -> dict[str, tuple[set[str], set[str]]]:
    """The table of docs/architecture.md: part -> (ours, others)."""
    rows = re.findall(r"^\| `([\w./]+)` \| .+ \| (.+) \| (.+) \|$", (ROOT / "docs/architecture.md").read_text(), re.M)
    return {
        name: (set(re.findall(r"`(.+?)`", ours)), set(re.findall(r"`(.+?)`", others))) for name, ours, others in rows
    }


def test_the_document_shows_the_same_table() -> None:
    def shown(name: str) -> str:
        ours = {"relay_client", "relay_chat", "relay_tunnel", "relay_agent", "bots"}
        return f"clients/{name}" if name in ours else name.replace(".", "/")

    names = {"relay/__main__": "relay/__main__.py", "relay/server": "relay/server.py"}
    names |= {"relay/config": "relay/config.py", "relay/hub": "relay/hub.py"}
    expected = {
        names.get(shown(part), shown(part)): (set(allowed.ours), set(allowed.others))
        for part, allowed in LAYERS.items()
        if part != "relay"
    }
    assert architecture_table() == expected
