"""What every store must delete, and what it must keep. Subclasses as in contract.py; `make` opens an empty store."""

from collections.abc import Callable

import pytest

from relay.protocol.codes import ErrorCode
from relay.store.base import Answer, Append, Appended, Backlog, Refusal, Retention, Role, Several, Store
from tests.store.samples import CREDENTIALS, add_users, cursor, message, offsets, run_of, send

ALL = 1_000_000
AGE = Retention(age_ms=1000)
SIZE = Retention(conversation_bytes=1000)
QUOTA = Retention(user_bytes=1000)

Make = Callable[[Retention], Store]


def sized(number: int, size: int = 100, *, sender: str = "alice", to: str = "bob", device: str = "pc") -> Append:
    """A message of so many bytes."""
    item = message(number, sender=sender, to=to, device=device)
    return item._replace(packet=item.packet.ljust(size, b"."))


def swept(store: Store, time_ms: int = 10_000) -> Store:
    """The store after a sweep at that time."""
    store.sweep(time_ms)
    for _ in range(10_000):
        if not store.maintain(idle=True):
            return store
    raise AssertionError("the sweep has no end")


def kept(store: Store, conversation: str = "alice@bob") -> list[int]:
    found = [entry.offset for entry in store.read(conversation, 0, 10_000, ALL)]
    assert found == [entry.offset for entry in store.read_back(conversation, 10_000, 10_000, ALL)]
    assert store.first_kept(conversation) == (found[0] if found else store.head(conversation) + 1)
    return found


def used(answer: Answer) -> int:
    """The bytes that a refusal for the quota says are used."""
    assert isinstance(answer, Refusal)
    assert answer.code is ErrorCode.QUOTA_EXCEEDED
    return int(answer.sentence.split()[0])


class RetentionContract:
    @pytest.fixture
    def make(self) -> Make:
        raise NotImplementedError

    def again(self, store: Store) -> Store:
        return store

    def start(self, make: Make, retention: Retention) -> Store:
        store = make(retention)
        add_users(store, "alice", "bob", "carol")
        return store

    # By age.

    def test_without_bounds_a_sweep_deletes_nothing(self, make: Make) -> None:
        store = self.start(make, Retention())
        send(store, [sized(1), sized(2)], 1)
        assert kept(swept(store, 10**12)) == [1, 2]

    def test_what_is_too_old_goes_and_what_is_just_old_enough_stays(self, make: Make) -> None:
        store = self.start(make, AGE)
        for time_ms in (5000, 5001, 7000):
            send(store, [sized(time_ms)], time_ms)
        assert kept(swept(store, 6000)) == [1, 2, 3]
        assert kept(swept(store, 6001)) == [2, 3]
        assert kept(self.again(store)) == [2, 3]

    def test_offsets_go_on_when_nothing_is_left(self, make: Make) -> None:
        store = self.start(make, AGE)
        send(store, [sized(1), sized(2)], 5000)
        store = self.again(swept(store))
        assert kept(store) == []
        assert (store.head("alice@bob"), store.first_kept("alice@bob")) == (2, 3)
        store = self.again(store)
        assert send(store, [sized(3)], 20_000) == [Appended(3, 20_000)]
        assert kept(swept(self.again(store), 20_000)) == [3]

    def test_a_device_that_is_behind_learns_where_the_messages_begin(self, make: Make) -> None:
        store = self.start(make, AGE)
        store.open_device("bob", "phone", None, 1)
        send(store, [sized(1), sized(2)], 5000)
        send(store, [sized(3)], 10_000)
        store = self.again(swept(store))
        assert store.backlog("bob", "phone") == [Backlog("alice@bob", 0, 3)]
        assert store.read("alice@bob", 0, 10, ALL)[0].offset == 3
        store.advance([cursor("bob", "phone", 3)])
        assert store.backlog("bob", "phone") == []

    def test_what_is_said_of_a_conversation(self, make: Make) -> None:
        store = self.start(make, AGE)
        send(store, [sized(1), sized(2)], 5000)
        send(store, [sized(3)], 10_000)
        store = self.again(swept(store))
        (info,) = store.conversations("bob", "phone", "", 10)
        assert (info.first, info.head, info.time_ms) == (3, 3, 10_000)
        (info,) = self.again(swept(store, 20_000)).conversations("bob", "phone", "", 10)
        assert (info.first, info.head, info.time_ms) == (4, 3, 0)

    def test_many_messages_of_many_conversations(self, make: Make) -> None:
        store = self.start(make, AGE)
        for time_ms in range(0, 3000, 1000):
            first = time_ms + 1
            names = ["alice", "bob", "carol"]
            send(store, [sized(first + at, to=names[at % 3]) for at in range(700)], 5000 + time_ms)
            store = self.again(store)
        store = self.again(swept(store, 7000))
        assert [len(kept(store, f"alice@{name}")) for name in ("alice", "bob", "carol")] == [468, 466, 466]
        assert [store.head(f"alice@{name}") for name in ("alice", "bob", "carol")] == [702, 699, 699]

    # Message ids.

    def test_an_id_whose_message_is_gone_is_never_stored_again(self, make: Make) -> None:
        store = self.start(make, AGE)
        send(store, [sized(1), sized(2)], 5000)
        send(store, [sized(3)], 10_000)
        store = self.again(swept(store))
        gone, there = send(store, [sized(1), sized(3)], 11_000)
        assert isinstance(gone, Refusal)
        assert gone.code is ErrorCode.ID_REUSED
        assert "deleted" in gone.sentence
        assert there == Appended(3, 10_000, True)
        assert store.last_message_id("alice", "pc") == 3

    # By size.

    def test_the_oldest_go_until_the_others_fit(self, make: Make) -> None:
        store = self.start(make, SIZE)
        send(store, [sized(number) for number in range(1, 13)])
        send(store, [sized(20, 900, to="carol"), sized(21, to="carol")])
        store = self.again(swept(store))
        assert kept(store) == list(range(3, 13))
        assert kept(store, "alice@carol") == [1, 2]
        send(store, [sized(22, 950)])
        assert kept(swept(self.again(store))) == [13]

    def test_a_message_that_is_too_large_by_itself_goes_too(self, make: Make) -> None:
        store = self.start(make, SIZE)
        send(store, [sized(1), sized(2, 1001)])
        assert kept(swept(store)) == []

    def test_both_bounds_hold(self, make: Make) -> None:
        store = self.start(make, Retention(1000, 300))
        send(store, [sized(number) for number in range(1, 10)], 5000)
        assert kept(swept(store, 5000)) == [7, 8, 9]
        store = self.again(store)
        send(store, [sized(10)], 7000)
        assert kept(swept(store, 6500)) == [10]

    def test_more_than_a_piece_of_one_conversation(self, make: Make) -> None:
        store = self.start(make, SIZE)
        send(store, [sized(number) for number in range(1, 1801)])
        assert kept(swept(self.again(store))) == list(range(1791, 1801))

    # Runs.

    def test_of_a_run_only_the_surplus_goes(self, make: Make) -> None:
        store = self.start(make, SIZE)
        send(store, [run_of([sized(number) for number in range(10, 18)])])
        send(store, [run_of([sized(number) for number in range(18, 23)])])
        store = self.again(swept(store))
        assert kept(store) == list(range(4, 14))
        gone, first = send(store, [sized(12), sized(13)])
        assert isinstance(gone, Refusal)
        assert gone.code is ErrorCode.ID_REUSED
        assert first == Appended(4, 5000, True)
        send(store, [sized(30, 850)])
        store = self.again(swept(self.again(store)))
        assert kept(store) == [13, 14]
        assert kept(swept(store)) == [13, 14]

    def test_of_a_run_as_much_is_stored_as_the_quota_allows(self, make: Make) -> None:
        store = self.start(make, QUOTA)
        (answer,) = send(store, [run_of([sized(number) for number in range(10, 22)])])
        assert isinstance(answer, Several)
        assert answer.answers[:10] == tuple(Appended(at, 5000) for at in range(1, 11))
        assert [used(part) for part in answer.answers[10:]] == [1000, 1000]
        assert len(kept(self.again(store))) == 10

    def test_the_bytes_of_a_run_are_those_of_its_messages(self, make: Make) -> None:
        store = self.start(make, Retention(1000, 350, 400))
        send(store, [run_of([sized(number) for number in (10, 11, 12, 13)])])
        assert used(*send(store, [sized(14)])) == 400
        store = self.again(swept(store, 5000))
        assert kept(store) == [2, 3, 4]
        assert used(*send(store, [sized(14, 101)])) == 300
        assert offsets(send(store, [sized(14)])) == [5]
        store = self.again(swept(store, 10_000))
        assert kept(store) == []
        assert offsets(send(store, [sized(15, 400)], 10_000)) == [6]

    # Rooms.

    def test_a_room_that_ended_is_deleted_and_its_name_begins_anew(self, make: Make) -> None:
        store = self.start(make, Retention(user_bytes=250))
        store.create_room("#ops", "", True, "alice", 1)
        send(store, [Append("#ops", "alice", "pc", 1, b"." * 200)])
        store.remove_room("#ops")
        store.create_room("#ops", "", True, "alice", 2)
        assert used(*send(store, [Append("#ops", "alice", "pc", 2, b"." * 200)])) == 200
        store = self.again(swept(store))
        assert send(store, [Append("#ops", "alice", "pc", 3, b"." * 200)]) == [Appended(1, 5000)]

    def test_a_room_is_shortened_like_any_other_conversation(self, make: Make) -> None:
        store = self.start(make, SIZE)
        store.create_room("#ops", "", True, "alice", 1)
        store.set_role("#ops", "bob", Role.MEMBER, 1)
        send(store, [Append("#ops", "alice", "pc", number, b"." * 400) for number in (1, 2, 3)])
        store = self.again(swept(store))
        assert kept(store, "#ops") == [2, 3]
        assert store.conversations("bob", "pc", "", 10)[0].first == 2

    # Quota.

    def test_a_sender_over_her_quota_is_refused(self, make: Make) -> None:
        store = self.start(make, QUOTA)
        assert offsets(send(store, [sized(number) for number in range(1, 11)]))[-1] == 10
        store = self.again(store)
        mine, others = send(store, [sized(11, 1), message(1, sender="bob", to="alice")])
        assert used(mine) == 1000
        assert isinstance(mine, Refusal)
        assert "1000 are allowed" in mine.sentence
        assert len(mine.sentence) < 250
        assert offsets([others]) == [11]

    def test_a_repetition_costs_nothing(self, make: Make) -> None:
        store = self.start(make, QUOTA)
        send(store, [sized(1, 600)])
        assert send(store, [sized(1, 600)]) == [Appended(1, 5000, True)]
        assert offsets(send(self.again(store), [sized(2, 400)])) == [2]

    def test_a_refused_message_can_be_sent_again_later(self, make: Make) -> None:
        store = self.start(make, Retention(1000, 0, 1000))
        send(store, [sized(1, 900)], 5000)
        assert used(*send(store, [sized(2, 200)], 5000)) == 900
        store = self.again(swept(store))
        assert send(store, [sized(2, 200)], 10_000) == [Appended(2, 10_000)]

    def test_all_devices_of_a_user_count_also_forgotten_ones(self, make: Make) -> None:
        store = self.start(make, QUOTA)
        send(store, [sized(1, 400, device="~tmp"), sized(1, 400, device="phone")])
        store.forget_device("alice", "phone")
        store = self.again(store)
        assert store.forget_devices(9000) == 1
        assert used(*send(self.again(store), [sized(2, 400)])) == 800

    def test_what_a_forgotten_device_sent_is_taken_off_when_it_goes(self, make: Make) -> None:
        store = self.start(make, Retention(1000, 0, 1000))
        send(store, [sized(1, 600, device="phone"), sized(2, 300)], 5000)
        store.forget_device("alice", "phone")
        send(store, [sized(3, 100)], 10_000)
        store = self.again(swept(store))
        assert used(*send(store, [sized(4, 901)], 10_000)) == 100

    def test_who_takes_over_a_name_begins_at_nothing(self, make: Make) -> None:
        store = self.start(make, Retention(1000, 0, 1000))
        send(store, [sized(1, 900)])
        store.remove_account("alice")
        store.add_account("alice", CREDENTIALS, False, 2)
        assert offsets(send(store, [sized(1, 950)], 10_000)) == [2]
        store = self.again(swept(store))
        assert used(*send(store, [sized(2, 51)], 10_000)) == 950

    # Devices.

    def test_devices_that_were_not_seen_for_long_are_forgotten(self, make: Make) -> None:
        store = self.start(make, Retention())
        store.open_device("bob", "phone", None, 1000)
        store.open_device("bob", "pc", None, 5000)
        store.open_device("bob", "~tmp", None, 1000)
        send(store, [message(1, sender="bob", to="alice", device="lamp")], 1000)
        assert store.forget_devices(500, 500) == 0
        assert store.forget_devices(500, 5000) == 2
        store = self.again(store)
        assert [known.device for known in store.devices("bob")] == ["pc", "~tmp"]
        assert store.last_message_id("bob", "lamp") == 0
        assert store.forget_devices(5001) == 1
        assert [known.device for known in store.devices("bob")] == ["pc"]

    def test_a_device_that_comes_back_later_begins_at_the_stated_place(self, make: Make) -> None:
        store = self.start(make, Retention())
        store.open_device("bob", "pc", None, 9000)
        store.open_device("bob", "phone", None, 1000)
        send(store, [message(number) for number in range(1, 6)])
        store.forget_devices(0, 5000)
        store.open_device("bob", "phone", 2, 9000)
        assert self.again(store).backlog("bob", "phone") == [Backlog("alice@bob", 3, 5)]

    # Rooms whose owner is removed.

    def test_a_room_without_owner_gets_the_longest_standing_moderator(self, make: Make) -> None:
        store = self.start(make, Retention())
        add_users(store, "dave")
        store.create_room("#ops", "", True, "alice", 1)
        for number, name in enumerate(("bob", "dave", "carol"), 1):
            store.set_role("#ops", name, Role.MEMBER, 1)
            send(store, [Append("#ops", "alice", "pc", number, b"x")])
        store.set_role("#ops", "carol", Role.MODERATOR, 1)
        store.set_role("#ops", "dave", Role.MODERATOR, 1)
        store.remove_account("alice")
        store = self.again(store)
        assert store.owners("#ops") == ["dave"]
        store.remove_account("dave")
        assert store.owners("#ops") == ["carol"]
        store.remove_account("carol")
        assert self.again(store).owners("#ops") == ["bob"]

    def test_a_room_with_another_owner_keeps_its_roles(self, make: Make) -> None:
        store = self.start(make, Retention())
        store.create_room("#ops", "", True, "alice", 1)
        store.set_role("#ops", "bob", Role.OWNER, 1)
        store.set_role("#ops", "carol", Role.MODERATOR, 1)
        store.remove_account("alice")
        assert self.again(store).owners("#ops") == ["bob"]

    def test_a_room_with_nobody_inside_ends(self, make: Make) -> None:
        store = self.start(make, Retention())
        store.create_room("#ops", "", True, "alice", 1)
        send(store, [Append("#ops", "alice", "pc", 1, b"x")])
        store.set_role("#ops", "bob", Role.INVITED, 1)
        store.set_role("#ops", "carol", Role.BANNED, 1)
        store.remove_account("alice")
        store = self.again(store)
        assert store.room("#ops") is None
        assert store.rooms_of("bob") == []
        store.create_room("#ops", "", True, "bob", 2)
        assert store.head("#ops") == 0
