"""The browser SDK by itself: its unit tests, run by Node, and its types."""

from pathlib import Path

import pytest

from tests.web.node import WEB, needs_node, run_node

pytestmark = needs_node
MODULES = sorted(path.name for path in (WEB / "test").glob("*.test.js"))


def test_there_are_tests() -> None:
    assert {"packets.test.js", "login.test.js", "values.test.js"} <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_node_runs_it(name: str) -> None:
    done = run_node("--test", "--test-reporter=tap", f"test/{name}")
    failed = [line for line in done.stdout.splitlines() if line.strip().startswith("not ok")]
    assert done.returncode == 0, "\n".join(failed) or done.stderr + done.stdout[-4000:]


def test_the_types_are_right_and_can_be_declared(tmp_path: Path) -> None:
    done = run_node("node_modules/typescript/bin/tsc", "--project", "tsconfig.json", "--outDir", str(tmp_path))
    assert done.returncode == 0, done.stdout
    assert 'export { Relay } from "./relay/client.js"' in (tmp_path / "relay.d.ts").read_text()
    assert "static connect(options: Options): Promise<Relay>;" in (tmp_path / "relay/client.d.ts").read_text()


@pytest.mark.parametrize("path", sorted((WEB / "relay").glob("*.js")), ids=lambda path: path.name)
def test_modules_are_short_and_say_what_they_are_for(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("/**"), "a module begins with what it is for"
    assert text.count("\n") <= 500
