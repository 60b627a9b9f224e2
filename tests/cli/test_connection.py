"""Who a command logs in as, and what it says when that does not work."""

import json
import re

from tests.cli.conftest import Town
from tests.cli.terminal import Terminal
from tests.process import run


def test_a_wrong_password_and_a_missing_relay_have_codes_of_their_own(town: Town) -> None:
    alice = town.user("alice")
    for url, code in {
        f"relay://{alice}:s3cret@{town.address}": 4,
        f"relay://nobody:s3cret@{town.address}": 4,
        "relay://alice:s3cret@127.0.0.1:1": 3,
        "relay://alice:s3cret@does-not-exist.invalid": 3,
        "relay+unix://alice:s3cret@/does/not/exist": 3,
        "relay://alice:s3cret@127.0.0.1:99999": 2,
    }.items():
        done = town.run("send", "--url", url, "bob", "hi")
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        assert re.fullmatch(r"relay: [^\n]+\n", done.stderr)
        assert "s3cret" not in done.stderr


def test_the_url_comes_from_flag_profile_variable_and_default_profile_in_this_order(town: Town) -> None:
    alice, bob, carol, dave = (town.user(name) for name in ("alice", "bob", "carol", "dave"))
    for profile, user in {"default": dave, "work": bob}.items():
        assert town.run("login", "--profile", profile, town.url(user)).returncode == 0

    def who_am_i(*words: str, **env: str) -> str:
        done = run("send", "--json", *words, alice, "x", home=town.home, env=env)
        assert done.returncode == 0, done.stderr
        return str(json.loads(done.stdout)["conversation"])

    def with_alice(user: str) -> str:
        return "@".join(sorted((alice, user)))

    assert who_am_i() == with_alice(dave)
    assert who_am_i(RELAY_PROFILE="work") == with_alice(bob)
    assert who_am_i(RELAY_PROFILE="work", RELAY_URL=town.url(carol)) == with_alice(carol)
    assert who_am_i("--profile", "work", RELAY_URL=town.url(carol)) == with_alice(bob)
    assert who_am_i("--profile", "work", "--url", town.url(carol)) == with_alice(carol)


def test_a_url_without_a_password_asks_for_it_on_the_terminal(town: Town) -> None:
    alice = town.user("alice")
    terminal = Terminal("who", "--url", f"relay://{alice}@{town.address}", home=town.home)
    terminal.wait_for(f"Password of {alice} at {town.address}: ")
    terminal.type(f"secret-{alice}\n")
    assert terminal.finish() == 0
    assert alice in terminal.shown
    assert "secret" not in terminal.shown
