"""What every store must know of files: who may see them, what counts towards a quota, and what nothing refers to."""

import re

import pytest

from relay.protocol.codes import ErrorCode
from relay.protocol.limits import INTEGER_MAX
from relay.store.base import Refusal, Role, Store
from relay.store.files import Begun, Content, FilePage, FileTerms, NewUpload, StoredFile, Swept
from tests.store.samples import CREDENTIALS, add_users, message, send

HASH, OTHER_HASH = b"h" * 32, b"o" * 32
TERMS = FileTerms(quota_bytes=1000, file_bytes=500, keep_ms=10_000, unfinished_ms=2000)
FREE = FileTerms()
ALL = FilePage(100)


def new(  # noqa: PLR0917 - a row
    upload: str = "u1",
    user: str = "alice",
    to: str = "bob",
    size: int | None = 100,
    hash: bytes | None = None,
    name: str = "a.txt",
) -> NewUpload:
    return NewUpload(user, upload, to, name, "text/plain", size, hash)


def begun(store: Store, upload: NewUpload, terms: FileTerms = TERMS, time_ms: int = 1000) -> Begun:
    found = store.begin_upload(upload, terms, time_ms)
    assert isinstance(found, Begun), found
    return found


def stored(store: Store, upload: NewUpload, hash: bytes = HASH, time_ms: int = 1000) -> StoredFile:
    """The file of an upload that is begun and finished."""
    begun(store, upload, time_ms=time_ms)
    found = store.finish_upload(upload.user, upload.upload, Content(upload.size or 0, hash), TERMS, time_ms)
    assert isinstance(found, StoredFile), found
    return found


def refused(found: object, code: ErrorCode) -> str:
    assert isinstance(found, Refusal), found
    assert found.code is code
    return found.sentence


def ids(store: Store, user: str, page: FilePage = ALL, time_ms: int = 1000) -> list[str]:
    found = store.files(user, page, time_ms)
    assert found is not None
    return [file.id for file in found]


class FileContract:
    """As StoreContract, which it is a part of."""

    @pytest.fixture
    def users(self, store: Store) -> Store:
        add_users(store, "alice", "bob", "carol")
        return store

    def again(self, store: Store) -> Store:
        return store

    # From an upload to a file.

    def test_a_finished_upload_is_a_file_that_both_see(self, users: Store) -> None:
        file = stored(users, new())
        users = self.again(users)
        assert re.fullmatch("[a-z2-7]{12}", file.id)
        assert file[1:] == ("a.txt", "text/plain", 100, HASH, "alice", "bob", 1000, 11_000)
        assert users.file("alice", file.id, 1000) == users.file("bob", file.id, 1000) == file
        assert users.file("carol", file.id, 1000) is None
        assert users.file("nobody", file.id, 1000) is None
        assert users.contents(b"", 10) == [Content(100, HASH)]
        assert users.partials() == []

    def test_an_unfinished_upload_goes_on_after_a_restart(self, users: Store) -> None:
        first = begun(users, new())
        assert re.fullmatch("[0-9a-f]{24}", first.partial)
        assert first.reserved_bytes == 100
        users = self.again(users)
        assert begun(users, new(), time_ms=2000) == first
        assert users.partials() == [first.partial]
        assert ids(users, "alice") == []
        assert begun(users, new("u2")).partial != first.partial
        assert begun(users, new("u1", "bob", "alice")).partial != first.partial

    def test_a_finished_upload_is_told_again(self, users: Store) -> None:
        file = stored(users, new())
        users = self.again(users)
        assert users.begin_upload(new(), TERMS, 2000) == file
        assert users.begin_upload(new(size=None), TERMS, 2000) == file
        assert users.begin_upload(new(hash=HASH), TERMS, 2000) == file
        assert ids(users, "alice") == [file.id]

    @pytest.mark.parametrize(
        "other",
        [new(name="b.txt"), new(to="carol"), new(size=99), new(hash=OTHER_HASH)],
        ids=["name", "to", "size", "hash"],
    )
    def test_a_name_of_an_upload_stands_for_one_file(self, users: Store, other: NewUpload) -> None:
        begun(users, new(hash=HASH))
        assert "'u1'" in refused(users.begin_upload(other, TERMS, 1000), ErrorCode.ID_REUSED)
        users.finish_upload("alice", "u1", Content(100, HASH), TERMS, 1000)
        assert "'u1'" in refused(users.begin_upload(other, TERMS, 1000), ErrorCode.ID_REUSED)

    def test_a_dropped_upload_begins_anew(self, users: Store) -> None:
        first = begun(users, new())
        users.drop_upload("alice", "u1")
        users.drop_upload("alice", "unknown")
        users.drop_upload("nobody", "u1")
        assert users.partials() == []
        refused(users.finish_upload("alice", "u1", Content(100, HASH), TERMS, 1000), ErrorCode.NO_SUCH_FILE)
        refused(users.reserve_upload("alice", "u1", 10, TERMS, 1000), ErrorCode.NO_SUCH_FILE)
        assert begun(users, new()).partial != first.partial

    # Who may send where.

    def test_uploads_are_refused_as_messages_are(self, users: Store) -> None:
        users.block("carol", "alice")
        users.create_room("#ops", "", True, "bob", 1000)
        for upload, code in (
            (new(to="nobody"), ErrorCode.NO_SUCH_USER),
            (new(user="nobody"), ErrorCode.NO_SUCH_USER),
            (new(to="carol"), ErrorCode.BLOCKED),
            (new(to="#ops"), ErrorCode.NO_SUCH_ROOM),
            (new(to="#none"), ErrorCode.NO_SUCH_ROOM),
        ):
            refused(users.begin_upload(upload, TERMS, 1000), code)
        assert users.partials() == []

    def test_what_is_true_at_the_end_counts(self, users: Store) -> None:
        users.create_room("#ops", "", False, "bob", 1000)
        users.set_role("#ops", "alice", Role.MEMBER, 1000)
        begun(users, new(to="#ops"))
        begun(users, new("u2"))
        users.set_role("#ops", "alice", None, 1000)
        users.block("bob", "alice")
        refused(users.finish_upload("alice", "u1", Content(100, HASH), TERMS, 1000), ErrorCode.NO_SUCH_ROOM)
        refused(users.finish_upload("alice", "u2", Content(100, HASH), TERMS, 1000), ErrorCode.BLOCKED)
        assert ids(users, "bob") == []

    def test_files_of_a_room_are_seen_by_who_is_inside_now(self, users: Store) -> None:
        users.create_room("#ops", "", False, "alice", 1000)
        file = stored(users, new(to="#ops"))
        assert users.file("bob", file.id, 1000) is None
        users.set_role("#ops", "bob", Role.INVITED, 1000)
        assert users.file("bob", file.id, 1000) is None
        users.set_role("#ops", "bob", Role.MEMBER, 1000)
        users = self.again(users)
        assert users.file("bob", file.id, 1000) == file
        users.set_role("#ops", "bob", Role.BANNED, 1000)
        assert users.file("bob", file.id, 1000) is None

    def test_a_room_that_comes_later_under_the_name_has_no_files(self, users: Store) -> None:
        users.create_room("#ops", "", False, "alice", 1000)
        users.set_role("#ops", "bob", Role.MEMBER, 1000)
        file = stored(users, new(to="#ops"))
        users.remove_room("#ops")
        users.create_room("#ops", "", False, "bob", 1000)
        users = self.again(users)
        assert users.file("bob", file.id, 1000) is None
        assert users.file("alice", file.id, 1000) == file

    def test_who_gets_a_name_later_sees_nothing_of_it(self, users: Store) -> None:
        mine, hers = stored(users, new()), stored(users, new("u2", "bob", "alice"))
        users.remove_account("bob")
        add_users(users, "bob")
        users = self.again(users)
        assert ids(users, "bob") == []
        assert ids(users, "bob", FilePage(10, "alice@bob")) == []
        assert users.file("bob", mine.id, 1000) is None
        assert ids(users, "alice") == [mine.id]
        assert users.file("alice", hers.id, 1000) is None
        assert users.file_usage("bob", 1000) == 0

    def test_a_file_to_oneself(self, users: Store) -> None:
        file = stored(users, new(to="alice"))
        assert ids(users, "alice", FilePage(10, "alice@alice")) == [file.id]
        assert ids(users, "bob") == []

    # Lists.

    def test_files_come_newest_first_in_pages(self, users: Store) -> None:
        found = [stored(users, new(f"u{n}", size=n), time_ms=5000 - n).id for n in range(7)][::-1]
        assert ids(users, "bob") == found
        assert ids(users, "bob", FilePage(3)) == found[:3]
        assert ids(users, "bob", FilePage(3, after=found[2])) == found[3:6]
        assert ids(users, "bob", FilePage(3, after=found[6])) == []
        assert users.files("bob", FilePage(3, after="aaaaaaaaaaaa"), 1000) is None

    def test_files_of_one_conversation(self, users: Store) -> None:
        users.create_room("#ops", "", False, "alice", 1000)
        send(users, [message(1)])
        to_bob, from_bob = stored(users, new()).id, stored(users, new("u", "bob", "alice")).id
        to_carol, to_ops = stored(users, new("u2", to="carol")).id, stored(users, new("u3", to="#ops")).id
        stored(users, new("u4", "bob", "carol"))
        assert ids(users, "alice") == [to_ops, to_carol, from_bob, to_bob]
        assert ids(users, "alice", FilePage(10, "alice@bob")) == [from_bob, to_bob]
        assert ids(users, "alice", FilePage(10, "alice@carol")) == [to_carol]
        assert ids(users, "alice", FilePage(10, "#ops")) == [to_ops]
        assert ids(users, "bob", FilePage(10, "#ops")) == []
        assert ids(users, "alice", FilePage(10, "#none")) == []
        assert ids(users, "alice", FilePage(10, "alice@nobody")) == []
        assert ids(users, "nobody") == []

    # The same content.

    def test_a_content_that_the_user_may_see_is_shared_at_once(self, users: Store) -> None:
        first = stored(users, new())
        second = users.begin_upload(new("u2", "bob", "carol", 100, HASH, "b.txt"), TERMS, 2000)
        assert isinstance(second, StoredFile)
        assert second[1:] == ("b.txt", "text/plain", 100, HASH, "bob", "carol", 2000, 12_000)
        assert second.id != first.id
        assert users.contents(b"", 10) == [Content(100, HASH)]
        assert users.partials() == []

    def test_the_known_size_counts_and_not_the_declared_one(self, users: Store) -> None:
        stored(users, new())
        for upload in (new("u2", size=None, hash=HASH), new("u3", size=7, hash=HASH)):
            found = users.begin_upload(upload, TERMS, 1000)
            assert isinstance(found, StoredFile)
            assert found.size == 100

    def test_a_hash_alone_tells_nothing_of_somebody_else_s_content(self, users: Store) -> None:
        stored(users, new())
        assert isinstance(users.begin_upload(new("u", "carol", "alice", 100, HASH), TERMS, 1000), Begun)

    def test_an_expired_content_is_not_shared(self, users: Store) -> None:
        stored(users, new())
        assert isinstance(users.begin_upload(new("u2", hash=HASH), TERMS, 20_000), Begun)

    # Quota.

    def test_files_and_unfinished_uploads_count(self, users: Store) -> None:
        stored(users, new(size=300))
        begun(users, new("u2", size=300))
        begun(users, new("u3", size=None))
        assert users.file_usage("alice", 1000) == 600
        assert users.file_usage("bob", 1000) == 0
        assert users.file_usage("nobody", 1000) == 0
        sentence = refused(users.begin_upload(new("u4", size=401), TERMS, 1000), ErrorCode.QUOTA_EXCEEDED)
        assert "600 bytes" in sentence
        assert "401" in sentence
        assert "1000" in sentence
        begun(users, new("u4", size=400))
        begun(users, new("u5", "bob", "alice", size=401))

    def test_a_file_over_the_bound_for_one(self, users: Store) -> None:
        sentence = refused(users.begin_upload(new(size=501), TERMS, 1000), ErrorCode.TOO_LARGE)
        assert "501" in sentence
        assert "500" in sentence
        assert users.partials() == []

    def test_without_bounds_everything_goes(self, users: Store) -> None:
        assert begun(users, new(size=2**50), FREE).reserved_bytes == 2**50
        file = users.finish_upload("alice", "u1", Content(2**50, HASH), FREE, 1000)
        assert isinstance(file, StoredFile)
        assert file.expires_ms == INTEGER_MAX

    def test_room_is_reserved_as_an_upload_grows(self, users: Store) -> None:
        stored(users, new("u0", size=400))
        begun(users, new(size=None))
        assert users.reserve_upload("alice", "u1", 300, TERMS, 1000) is None
        assert users.reserve_upload("alice", "u1", 200, TERMS, 1000) is None
        users = self.again(users)
        assert users.file_usage("alice", 1000) == 700
        begun(users, new("u2", size=200))
        refused(users.reserve_upload("alice", "u1", 401, TERMS, 1000), ErrorCode.QUOTA_EXCEEDED)
        refused(users.reserve_upload("alice", "u1", 501, TERMS, 1000), ErrorCode.TOO_LARGE)
        assert users.reserve_upload("alice", "u1", 400, TERMS, 1000) is None
        assert begun(users, new(size=None)).reserved_bytes == 400

    def test_what_an_upload_has_become_must_fit(self, users: Store) -> None:
        begun(users, new(size=None))
        refused(users.finish_upload("alice", "u1", Content(501, HASH), TERMS, 1000), ErrorCode.TOO_LARGE)
        for number in range(2):
            stored(users, new(f"u{number + 2}", size=500))
        refused(users.finish_upload("alice", "u1", Content(1, HASH), TERMS, 1000), ErrorCode.QUOTA_EXCEEDED)

    # Ending.

    def test_an_expired_file_is_seen_by_nobody_and_swept(self, users: Store) -> None:
        file = stored(users, new())
        assert users.file("bob", file.id, 10_999) == file
        assert users.file("bob", file.id, 11_000) is None
        assert ids(users, "alice", time_ms=11_000) == []
        assert users.file_usage("alice", 11_000) == 0
        assert users.sweep_files(TERMS, (), 10_999, 10) == Swept([], [], False)
        assert users.sweep_files(TERMS, (), 11_000, 10) == Swept([], [HASH], False)
        assert self.again(users).contents(b"", 10) == []

    def test_a_removed_file_is_gone_at_once(self, users: Store) -> None:
        file = stored(users, new())
        assert not users.remove_file("bob", file.id, 1000)
        assert not users.remove_file("alice", "aaaaaaaaaaaa", 1000)
        assert users.remove_file("alice", file.id, 1000)
        assert not users.remove_file("alice", file.id, 1000)
        users = self.again(users)
        assert users.file("bob", file.id, 1000) is None
        assert users.file_usage("alice", 1000) == 0
        assert users.sweep_files(TERMS, (), 1000, 10).hashes == [HASH]

    def test_a_removed_file_can_be_uploaded_again_before_the_sweep(self, users: Store) -> None:
        file = stored(users, new())
        users.remove_file("alice", file.id, 1000)
        second = stored(users, new())
        assert users.sweep_files(TERMS, (), 1000, 10).hashes == []
        assert ids(users, "bob") == [second.id]

    def test_a_content_goes_with_its_last_file(self, users: Store) -> None:
        first, second = stored(users, new()), stored(users, new("u2", to="carol"))
        users.remove_file("alice", first.id, 1000)
        assert users.sweep_files(TERMS, (), 1000, 10).hashes == []
        users.remove_file("alice", second.id, 1000)
        assert users.sweep_files(TERMS, (), 1000, 10).hashes == [HASH]

    def test_files_of_a_removed_account_go_with_the_next_sweep(self, users: Store) -> None:
        file, partial = stored(users, new()), begun(users, new("u2")).partial
        users.remove_account("alice")
        users = self.again(users)
        assert users.file("bob", file.id, 1000) is None
        assert users.sweep_files(TERMS, (), 2500, 10) == Swept([partial], [HASH], False)
        assert users.partials() == []

    def test_uploads_that_nobody_works_on_go(self, users: Store) -> None:
        first, second, third = (begun(users, new(f"u{n}")).partial for n in range(3))
        users.touch_upload(second, 2000)
        users.touch_upload("unknown", 2000)
        assert users.sweep_files(TERMS, (third,), 2999, 10).partials == []
        assert users.sweep_files(TERMS, (third,), 3000, 10).partials == [first]
        assert users.sweep_files(TERMS, (third,), 4000, 10).partials == [second]
        assert self.again(users).partials() == [third]

    def test_a_sweep_takes_a_bounded_number_at_once(self, users: Store) -> None:
        for number in range(5):
            stored(users, new(f"u{number}"), bytes([number]) * 32)
            begun(users, new(f"v{number}"))
        sweeps = [users.sweep_files(TERMS, (), 50_000, 2) for _ in range(3)]
        assert [sweep.more for sweep in sweeps] == [True, True, False]
        assert sum(len(sweep.hashes) for sweep in sweeps) == sum(len(sweep.partials) for sweep in sweeps) == 5

    def test_contents_come_in_pages_by_hash(self, users: Store) -> None:
        for number in (3, 1, 2):
            stored(users, new(f"u{number}", size=number), bytes([number]) * 32)
        assert users.contents(b"", 2) == [Content(1, b"\x01" * 32), Content(2, b"\x02" * 32)]
        assert users.contents(b"\x02" * 32, 2) == [Content(3, b"\x03" * 32)]
        assert users.has_content(b"\x02" * 32)
        assert not users.has_content(b"\x04" * 32)

    def test_another_thread_s_reader_sees_files(self, users: Store) -> None:
        file = stored(users, new())
        reader = users.reader()
        assert reader.file("bob", file.id, 1000) == file
        assert reader.files("alice", ALL, 1000) == [file]
        assert reader.file_usage("alice", 1000) == 100
        assert reader.contents(b"", 10) == [Content(100, HASH)]
        assert reader.partials() == []
        reader.close()

    def test_a_disabled_account_keeps_its_files(self, users: Store) -> None:
        file = stored(users, new())
        users.set_disabled("alice", True)
        users.set_credentials("alice", CREDENTIALS)
        assert users.file("bob", file.id, 1000) == file
