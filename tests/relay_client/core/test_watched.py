"""Presence: what is news in an answer that was asked for again."""

from relay_client.answers import Presence
from relay_client.core.watched import Watched


def online(user: str) -> Presence:
    return Presence(user, "online", None)


def offline(user: str) -> Presence:
    return Presence(user, "offline", None)


def test_the_first_answer_is_no_news_and_later_ones_are_where_they_differ() -> None:
    watched = Watched()
    assert watched.answered([online("bob"), offline("carol")]) == []
    watched.told(online("carol"))
    assert watched.answered([offline("bob"), online("carol"), online("dave")]) == [offline("bob")]


def test_who_is_watched_no_more_is_forgotten() -> None:
    watched = Watched()
    watched.answered([online("bob")])
    watched.answered([])
    assert watched.answered([offline("bob")]) == []
