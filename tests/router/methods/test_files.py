"""What the relay tells of the files it keeps, and to whom. Town's time is 1,000,000 ms."""

from typing import Any

import pytest

from relay.protocol.codes import ErrorCode
from relay.store.base import Role
from relay.store.files import Content, FileTerms, NewUpload, StoredFile
from tests.router.recording import RecordingSubscriber
from tests.router.town import Town

TERMS = FileTerms(keep_ms=10_000)


class Shelf:
    """Alice, Bob and Carol; Alice is in #ops with Carol."""

    def __init__(self) -> None:
        self.town = Town("alice", "bob", "carol")
        self.store = self.town.log.store
        self.store.create_room("#ops", "", False, "alice", 0)
        self.store.set_role("#ops", "carol", Role.MEMBER, 0)
        self.alice, self.bob, self.carol = (self.town.join(user) for user in ("alice", "bob", "carol"))
        self._count = 0

    def add(self, sender: str, to: str, size: int = 5) -> str:
        """A file; its id."""
        self._count += 1
        upload = f"u{self._count}"
        self.store.begin_upload(NewUpload(sender, upload, to, f"{upload}.txt", "", size, None), TERMS, 995_000)
        content = Content(size, self._count.to_bytes(32, "big"))
        file = self.store.finish_upload(sender, upload, content, TERMS, 995_000)
        assert isinstance(file, StoredFile)
        return file.id

    def ask(self, session: RecordingSubscriber, method: str, **arguments: Any) -> Any:
        return self.town.ask(session, f"files.{method}", arguments)

    def ids(self, session: RecordingSubscriber, **arguments: Any) -> list[str]:
        return [file["id"] for file in self.ask(session, "list", **arguments)["files"]]


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def test_a_file_is_described(shelf: Shelf) -> None:
    id = shelf.add("alice", "bob")
    expected = {
        "id": id,
        "name": "u1.txt",
        "size": 5,
        "type": "",
        "hash": (1).to_bytes(32, "big"),
        "from": "alice",
        "to": "bob",
        "conversation": "alice@bob",
        "time_ms": 995_000,
        "expires_ms": 1_005_000,
    }
    assert shelf.ask(shelf.bob, "info", file=id) == expected
    assert shelf.ask(shelf.alice, "list") == {"files": [expected], "more": False}
    assert shelf.ask(shelf.carol, "info", file=id) == ErrorCode.NO_SUCH_FILE
    shelf.town.time_ms = 1_005_000
    assert shelf.ask(shelf.bob, "info", file=id) == ErrorCode.NO_SUCH_FILE


def test_lists_are_of_what_one_may_get_newest_first(shelf: Shelf) -> None:
    to_bob, to_alice, to_ops = shelf.add("alice", "bob"), shelf.add("bob", "alice"), shelf.add("carol", "#ops")
    assert shelf.ids(shelf.alice) == [to_ops, to_alice, to_bob]
    assert shelf.ids(shelf.bob) == [to_alice, to_bob]
    assert shelf.ids(shelf.carol) == [to_ops]
    assert shelf.ids(shelf.alice, conversation="bob") == [to_alice, to_bob]
    assert shelf.ids(shelf.alice, conversation="alice@bob") == [to_alice, to_bob]
    assert shelf.ids(shelf.alice, conversation="#ops") == [to_ops]
    assert shelf.ids(shelf.bob, conversation="#ops") == []
    assert shelf.ask(shelf.alice, "list", conversation="bob@carol") == ErrorCode.NO_SUCH_CONVERSATION
    (found,) = shelf.ask(shelf.carol, "list")["files"]
    assert (found["conversation"], found["to"]) == ("#ops", "#ops")


def test_lists_come_in_pages(shelf: Shelf) -> None:
    ids = [shelf.add("alice", "bob") for _ in range(5)][::-1]
    page = shelf.ask(shelf.bob, "list", limit=2)
    assert ([file["id"] for file in page["files"]], page["more"]) == (ids[:2], True)
    page = shelf.ask(shelf.bob, "list", limit=3, after=ids[1])
    assert ([file["id"] for file in page["files"]], page["more"]) == (ids[2:], False)
    assert shelf.ask(shelf.bob, "list", after="aaaaaaaaaaaa") == ErrorCode.NO_SUCH_FILE
    assert shelf.ask(shelf.bob, "list", limit=501) == ErrorCode.BAD_ARGUMENTS


def test_only_who_sent_a_file_removes_it(shelf: Shelf) -> None:
    id = shelf.add("alice", "bob")
    assert shelf.ask(shelf.bob, "remove", file=id) == ErrorCode.NOT_ALLOWED
    assert shelf.ask(shelf.carol, "remove", file=id) == ErrorCode.NO_SUCH_FILE
    assert shelf.ask(shelf.alice, "remove", file=id) == {}
    assert shelf.ask(shelf.alice, "remove", file=id) == ErrorCode.NO_SUCH_FILE
    assert shelf.ids(shelf.bob) == []


def test_usage(shelf: Shelf) -> None:
    shelf.add("alice", "bob", 700)
    shelf.store.begin_upload(NewUpload("alice", "u", "bob", "a", "", 300, None), TERMS, 1)
    assert shelf.ask(shelf.alice, "usage") == {"used_bytes": 1000, "quota_bytes": 0, "file_bytes": 0}
    assert shelf.ask(shelf.bob, "usage")["used_bytes"] == 0


@pytest.mark.parametrize("method", ["info", "remove"])
@pytest.mark.parametrize("id", ["", "../../etc/passwd", "x" * 1000, "\x00"])
def test_ids_that_are_none(shelf: Shelf, method: str, id: str) -> None:
    assert shelf.ask(shelf.alice, method, file=id) == ErrorCode.NO_SUCH_FILE
