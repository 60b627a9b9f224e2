"""relay room against a real relay process."""

import json

from tests.cli.conftest import Town


def test_a_private_room_from_invitation_to_ban(town: Town) -> None:
    alice, bob = town.user("alice"), town.user("bob")
    made = town.run("room", "create", "plans", "--title", "Our plans", "--private", user=alice)
    assert made.stdout == "#plans  private, 1 member, you are owner  Our plans\n"
    outside = town.run("room", "join", "plans", user=bob)
    nowhere = town.run("room", "join", "nowhere", user=bob)
    assert outside.returncode == nowhere.returncode == 1
    assert outside.stderr == nowhere.stderr.replace("nowhere", "plans")
    assert nowhere.stderr == "relay: there is no room #nowhere, or you are not in it\n"
    assert town.run("room", "invite", "#plans", bob, user=alice).returncode == 0
    assert (
        town.run("room", "join", "plans", user=bob).stdout == "#plans  private, 2 members, you are member  Our plans\n"
    )
    assert town.run("send", "#plans", "hello", user=bob).stdout == "stored as #plans 1\n"
    assert town.run("room", "remove", "plans", bob, "--ban", user=alice).returncode == 0
    assert town.run("send", "#plans", "hello", user=bob).returncode == 1
    assert town.run("room", "unban", "plans", bob, user=alice).returncode == 0


def test_members_and_roles(town: Town) -> None:
    alice, bob = sorted((town.user("alice"), town.user("bob")))
    town.run("room", "create", "crew", user=alice)
    town.run("room", "join", "crew", user=bob)
    assert town.run("room", "leave", "crew", user=alice).returncode == 1
    assert town.run("room", "role", "crew", bob, "owner", user=alice).returncode == 0
    rows = [json.loads(line) for line in town.run("room", "members", "crew", "--json", user=bob).stdout.splitlines()]
    assert rows == [{"user": alice, "role": "owner"}, {"user": bob, "role": "owner"}]
    assert town.run("room", "leave", "crew", user=alice).returncode == 0
    assert [line.split() for line in town.run("room", "members", "crew", user=bob).stdout.splitlines()] == [
        [bob, "owner"]
    ]


def test_listing_shows_own_rooms_and_with_all_the_public_ones(town: Town) -> None:
    alice, bob = town.user("alice"), town.user("bob")
    town.run("room", "create", "open-house", user=alice)
    assert town.run("room", "list", user=bob).stdout == ""
    rooms = town.run("room", "list", "--all", "--json", user=bob).stdout.splitlines()
    assert "#open-house" in [json.loads(line)["room"] for line in rooms]


def test_a_room_can_be_changed(town: Town) -> None:
    alice, bob = town.user("alice"), town.user("bob")
    made = json.loads(town.run("room", "create", "drafts", "--json", user=alice).stdout)
    assert made == {"room": "#drafts", "title": "", "public": True, "role": "owner", "members": 1, "head": 0}
    assert town.run("room", "set", "drafts", "--title", "On call", "--private", user=alice).returncode == 0
    (line,) = town.run("room", "list", user=alice).stdout.splitlines()
    assert line == "#drafts  private, 1 member, you are owner  On call"
    assert town.run("room", "join", "drafts", user=bob).returncode == 1
    nothing = town.run("room", "set", "drafts", user=alice)
    assert nothing.returncode == 2 and "--title" in nothing.stderr


def test_who_is_banned_stays_out(town: Town) -> None:
    alice, eve = town.user("alice"), town.user("eve")
    town.run("room", "create", "quiet", user=alice)
    town.run("room", "join", "quiet", user=eve)
    assert town.run("room", "ban", "quiet", eve, user=alice).returncode == 0
    assert town.run("room", "join", "quiet", user=eve).returncode == 1
    assert town.run("room", "unban", "quiet", eve, user=alice).returncode == 0
    assert town.run("room", "join", "#quiet", user=eve).returncode == 0


def test_what_cannot_name_a_room_is_a_usage_error(town: Town) -> None:
    done = town.run("room", "join", "two words", user=town.user())
    assert done.returncode == 2 and "two words" in done.stderr
