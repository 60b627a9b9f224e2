"""Whom connected users do not want to hear from."""

from relay.protocol.codes import CloseCode
from tests.router.town import Town


def test_blocks_of_connected_users_are_known() -> None:
    town = Town()
    town.join("alice", blocked=("mallory",))
    blocks = town.router.blocks
    assert blocks.blocks("alice", "mallory")
    assert not blocks.blocks("mallory", "alice")
    assert not blocks.blocks("bob", "mallory")
    assert bool(blocks)


def test_a_block_ends_the_shortcuts_of_the_blocked() -> None:
    town = Town()
    town.join("alice")
    mallory, other = town.join("mallory"), town.join("bob")
    town.router.blocks.add("alice", "mallory")
    assert town.router.blocks.blocks("alice", "mallory")
    assert mallory.routes_forgotten
    assert not other.routes_forgotten


def test_a_block_can_be_ended() -> None:
    town = Town()
    town.join("alice", blocked=("mallory",))
    town.router.blocks.remove("alice", "mallory")
    town.router.blocks.remove("nobody", "mallory")
    assert not town.router.blocks.blocks("alice", "mallory")


def test_blocks_stay_until_the_last_session_ends() -> None:
    town = Town()
    phone = town.join("alice", blocked=("mallory",))
    laptop = town.join("alice", "laptop", blocked=("mallory",))
    phone.end(CloseCode.NORMAL, "bye")
    assert town.router.blocks.blocks("alice", "mallory")
    laptop.end(CloseCode.NORMAL, "bye")
    assert not town.router.blocks


def test_users_who_are_not_connected_are_not_known() -> None:
    town = Town()
    town.router.blocks.add("alice", "mallory")
    assert not town.router.blocks


def test_what_is_known_is_newer_than_what_a_login_was_told() -> None:
    town = Town()
    town.join("alice", blocked=("mallory",))
    town.router.blocks.remove("alice", "mallory")
    town.router.blocks.add("alice", "carol")
    town.join("alice", "laptop", blocked=("mallory",))
    assert not town.router.blocks.blocks("alice", "mallory")
    assert town.router.blocks.blocks("alice", "carol")


def test_a_block_that_ended_between_two_logins_stays_ended() -> None:
    """The second login's question was answered before the block ended."""
    town = Town()
    town.join("alice")
    town.router.blocks.add("alice", "mallory")
    with town.router.expecting("alice"):
        town.router.learn("alice", (), ("mallory",))
        town.router.blocks.remove("alice", "mallory")
        town.join("alice", "laptop", blocked=("mallory",))
    assert not town.router.blocks.blocks("alice", "mallory")
