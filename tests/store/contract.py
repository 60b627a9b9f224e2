"""What every store must do. A subclass makes the store; for one on a disk it also says how to come back to it."""

import threading

import pytest

from relay.protocol.codes import ErrorCode
from relay.protocol.limits import MESSAGE_WINDOW
from relay.store.base import (
    AccountExistsError,
    Append,
    Appended,
    Backlog,
    Entry,
    NoSuchAccountError,
    Refusal,
    Several,
    Store,
)
from tests.store.contract_files import FileContract
from tests.store.contract_logins import LoginContract
from tests.store.samples import CREDENTIALS, add_users, cursor, message, offsets, run_of, send

ALL = 1_000_000


class StoreContract(LoginContract, FileContract):
    """Takes a fixture `store`: an empty one. `again` gives the same store after a restart, if it survives one."""

    # Appending and reading.

    def test_offsets_are_contiguous_from_one_in_each_conversation(self, users: Store) -> None:
        answers = send(users, [message(1), message(2), message(3, to="carol"), message(1, sender="bob", to="alice")])
        assert answers == [Appended(1, 5000), Appended(2, 5000), Appended(1, 5000), Appended(3, 5000)]

    def test_groups_go_on_where_the_last_one_ended(self, users: Store) -> None:
        send(users, [message(1), message(2)])
        users = self.again(users)
        assert send(users, [message(3)], 6000) == [Appended(3, 6000)]

    @pytest.mark.parametrize("count", [1, 7, 8, 9, 63, 64, 65, 200])
    def test_groups_of_any_size_keep_order_and_content(self, users: Store, count: int) -> None:
        items = [message(number) for number in range(1, count + 1)]
        assert offsets(send(users, items)) == list(range(1, count + 1))
        expected = [Entry(number, 5000, items[number - 1].packet) for number in range(1, count + 1)]
        assert users.read("alice@bob", 0, count, ALL) == expected
        assert self.again(users).read("alice@bob", 0, count, ALL) == expected

    def test_an_empty_group_changes_nothing(self, users: Store) -> None:
        assert users.append([], 5000) == []

    def test_reading_begins_behind_the_given_offset(self, users: Store) -> None:
        send(users, [message(number) for number in range(1, 11)])
        assert [entry.offset for entry in users.read("alice@bob", 4, 3, ALL)] == [5, 6, 7]
        assert users.read("alice@bob", 10, 3, ALL) == []
        assert users.read("alice@bob", 99, 3, ALL) == []
        assert len(users.read("alice@bob", -1, 100, ALL)) == 10

    def test_reading_stops_before_too_many_bytes_but_gives_one(self, users: Store) -> None:
        send(users, [message(number) for number in range(1, 6)])
        size = len(message(1).packet)
        assert [entry.offset for entry in users.read("alice@bob", 0, 10, 3 * size)] == [1, 2, 3]
        assert [entry.offset for entry in users.read("alice@bob", 0, 10, 3 * size - 1)] == [1, 2]
        assert [entry.offset for entry in users.read("alice@bob", 2, 10, 0)] == [3]

    def test_an_unknown_conversation_is_empty(self, users: Store) -> None:
        assert users.read("alice@carol", 0, 10, ALL) == []

    def test_packets_may_be_empty_and_large_and_any_bytes(self, users: Store) -> None:
        packets = [b"", bytes(range(256)), b"\0" * 1_000_000]
        send(users, [Append("alice@bob", "alice", "pc", 1 + at, packet) for at, packet in enumerate(packets)])
        assert [entry.packet for entry in self.again(users).read("alice@bob", 0, 10, 10 * ALL)] == packets

    def test_notes_to_oneself(self, users: Store) -> None:
        assert offsets(send(users, [message(1, to="alice"), message(2, to="alice")])) == [1, 2]
        users.open_device("alice", "phone", None, 6000)
        assert users.backlog("alice", "phone") == [Backlog("alice@alice", 0, 2)]

    def test_names_may_be_any_letters(self, store: Store) -> None:
        add_users(store, "zoë", "łukasz")
        assert offsets(send(store, [message(1, sender="zoë", to="łukasz", device="téléphone")])) == [1]
        assert self.again(store).last_message_id("zoë", "téléphone") == 1

    def test_origin_does_not_matter(self, users: Store) -> None:
        assert offsets(send(users, [message(1)._replace(origin=object())])) == [1]

    # Refusals.

    def test_a_user_who_does_not_exist(self, users: Store) -> None:
        answers = send(users, [message(1), message(2, to="nobody"), message(3)])
        assert [type(answer) for answer in answers] == [Appended, Refusal, Appended]
        assert isinstance(answers[1], Refusal)
        assert answers[1].code is ErrorCode.NO_SUCH_USER
        assert "nobody" in answers[1].sentence
        assert users.read("alice@nobody", 0, 10, ALL) == []

    def test_a_sender_who_does_not_exist(self, users: Store) -> None:
        (answer,) = send(users, [message(1, sender="nobody", to="nobody")])
        assert isinstance(answer, Refusal)
        assert answer.code is ErrorCode.NO_SUCH_USER

    def test_a_room_that_does_not_exist(self, users: Store) -> None:
        (answer,) = send(users, [Append("#ops", "alice", "pc", 1, b"x")])
        assert isinstance(answer, Refusal)
        assert answer.code is ErrorCode.NO_SUCH_ROOM

    def test_a_refused_message_can_be_stored_later_under_its_id(self, users: Store) -> None:
        send(users, [message(1), message(2, to="dave"), message(3)])
        add_users(users, "dave")
        assert send(users, [message(2, to="dave"), message(2, to="dave")]) == [
            Appended(1, 5000),
            Appended(1, 5000, True),
        ]
        assert users.last_message_id("alice", "pc") == 3

    # Message ids.

    def test_a_repeated_message_gets_its_first_answer(self, users: Store) -> None:
        send(users, [message(1), message(2)], 5000)
        users = self.again(users)
        assert send(users, [message(1), message(2), message(3)], 7000) == [
            Appended(1, 5000, True),
            Appended(2, 5000, True),
            Appended(3, 7000),
        ]
        assert len(users.read("alice@bob", 0, 10, ALL)) == 3

    def test_a_message_repeated_within_one_group(self, users: Store) -> None:
        answers = send(users, [message(1), message(2), message(2), message(1), message(3)])
        assert answers == [
            Appended(1, 5000),
            Appended(2, 5000),
            Appended(2, 5000, True),
            Appended(1, 5000, True),
            Appended(3, 5000),
        ]

    def test_the_same_id_with_other_content_is_refused(self, users: Store) -> None:
        send(users, [message(1), message(2)])
        (answer,) = send(self.again(users), [message(2, text="other")])
        assert isinstance(answer, Refusal)
        assert answer.code is ErrorCode.ID_REUSED

    def test_each_device_and_user_has_ids_of_its_own(self, users: Store) -> None:
        items = [message(1), message(1, device="phone"), message(1, sender="bob", to="alice")]
        assert offsets(send(users, items)) == [1, 2, 3]

    def test_ids_are_remembered_as_far_as_the_window_goes(self, users: Store) -> None:
        items = [message(number) for number in range(1, MESSAGE_WINDOW + 11)]
        send(users, items)
        users = self.again(users)
        answers = send(users, [items[9], items[10], items[-1]])
        assert isinstance(answers[0], Refusal)
        assert answers[0].code is ErrorCode.ID_REUSED
        assert answers[1:] == [Appended(11, 5000, True), Appended(MESSAGE_WINDOW + 10, 5000, True)]

    def test_ids_may_have_gaps_and_the_window_counts_messages(self, users: Store) -> None:
        items = [message(number * 1000) for number in range(1, MESSAGE_WINDOW + 1)]
        send(users, items)
        users = self.again(users)
        assert offsets(send(users, [items[0]])) == [1]
        send(users, [message(10**9)])
        (answer,) = send(users, [items[0]])
        assert isinstance(answer, Refusal)

    def test_an_id_that_was_never_stored_is_new_inside_the_window(self, users: Store) -> None:
        send(users, [message(10), message(30)])
        users = self.again(users)
        assert send(users, [message(20), message(5)]) == [Appended(3, 5000), Appended(4, 5000)]
        users = self.again(users)
        assert send(users, [message(5), message(20), message(30)], 9000) == [
            Appended(4, 5000, True),
            Appended(3, 5000, True),
            Appended(2, 5000, True),
        ]

    # Runs.

    def test_a_run_is_stored_as_its_messages_would_be(self, users: Store) -> None:
        items = [message(number) for number in range(100, 230)]
        assert send(users, [message(1), run_of(items[:60]), run_of(items[60:])]) == [
            Appended(1, 5000),
            Appended(2, 5000),
            Appended(62, 5000),
        ]
        users = self.again(users)
        assert [entry.packet for entry in users.read("alice@bob", 1, 500, ALL)] == [item.packet for item in items]
        assert [entry.offset for entry in users.read("alice@bob", 30, 40, ALL)] == list(range(31, 71))
        assert users.last_message_id("alice", "pc") == 229
        assert users.head("alice@bob") == 131

    def test_parts_of_a_run_can_be_read_from_any_place_and_in_any_amount(self, users: Store) -> None:
        items = [message(number) for number in range(100, 110)]
        size = len(items[0].packet)
        send(users, [run_of(items), message(200), run_of(items)._replace(message_id=300)])
        users = self.again(users)
        for after in range(21):
            for limit in (1, 2, 3, 11, 30):
                offsets_read = list(range(after + 1, min(after + limit, 21) + 1))
                assert [entry.offset for entry in users.read("alice@bob", after, limit, ALL)] == offsets_read
                back = [entry.offset for entry in users.read_back("alice@bob", after + 1, limit, ALL)]
                assert back == list(range(max(1, after + 1 - limit), after + 1))
        assert len(users.read("alice@bob", 2, 30, 3 * size)) == 3
        assert len(users.read("alice@bob", 2, 30, 3 * size - 1)) == 2
        assert len(users.read("alice@bob", 8, 30, 4 * size - 1)) == 3
        assert len(users.read("alice@bob", 2, 30, 0)) == 1
        assert [entry.offset for entry in users.read_back("alice@bob", 8, 30, 3 * size)] == [5, 6, 7]

    def test_a_repeated_run_gets_its_first_answer(self, users: Store) -> None:
        run = run_of(message(number) for number in range(100, 120))
        send(users, [run], 5000)
        users = self.again(users)
        assert send(users, [run], 7000) == [Appended(1, 5000, True)]
        assert users.head("alice@bob") == 20

    def test_one_message_of_a_run_is_recognised_alone(self, users: Store) -> None:
        send(users, [run_of(message(number) for number in range(100, 120))])
        users = self.again(users)
        again, other = send(users, [message(107), message(108, text="other")], 7000)
        assert again == Appended(8, 5000, True)
        assert isinstance(other, Refusal)
        assert other.code is ErrorCode.ID_REUSED

    def test_a_run_of_which_some_were_stored_is_answered_one_by_one(self, users: Store) -> None:
        send(users, [message(101), message(103, text="other")])
        (answer,) = send(self.again(users), [run_of(message(number) for number in range(100, 105))], 7000)
        assert isinstance(answer, Several)
        assert answer.answers[:3] == (Appended(3, 7000), Appended(1, 5000, True), Appended(4, 7000))
        assert isinstance(answer.answers[3], Refusal)
        assert answer.answers[4] == Appended(5, 7000)

    def test_a_run_that_cannot_be_stored_is_refused_as_one(self, users: Store) -> None:
        run = run_of(message(number, to="dave") for number in range(100, 120))
        (answer,) = send(users, [run])
        assert isinstance(answer, Refusal)
        assert answer.code is ErrorCode.NO_SUCH_USER
        add_users(users, "dave")
        assert send(users, [run]) == [Appended(1, 5000)]

    def test_ids_of_runs_are_remembered_as_far_as_the_window_goes(self, users: Store) -> None:
        items = [message(number) for number in range(1000, 1000 + MESSAGE_WINDOW + 44)]
        send(users, [run_of(items[at : at + 100]) for at in range(0, len(items), 100)])
        users = self.again(users)
        below, inside = send(users, [items[43], items[44]], 7000)
        assert isinstance(below, Refusal)
        assert inside == Appended(45, 5000, True)

    def test_last_message_id(self, users: Store) -> None:
        assert users.last_message_id("alice", "pc") == 0
        assert users.last_message_id("nobody", "pc") == 0
        send(users, [message(5), message(9), message(7), message(3, device="phone")])
        assert (users.last_message_id("alice", "pc"), users.last_message_id("alice", "phone")) == (9, 3)
        users = self.again(users)
        assert (users.last_message_id("alice", "pc"), users.last_message_id("alice", "phone")) == (9, 3)

    def test_a_login_before_the_first_message_does_not_hide_it(self, users: Store) -> None:
        assert users.last_message_id("alice", "pc") == 0
        users.open_device("alice", "pc", None, 1)
        assert users.last_message_id("alice", "pc") == 0
        send(users, [message(1)])
        assert users.last_message_id("alice", "pc") == 1

    def test_a_device_that_opens_after_its_first_message_was_refused(self, users: Store) -> None:
        send(users, [message(1, to="nobody")])
        users.open_device("alice", "pc", None, 1)
        assert offsets(send(users, [message(2)])) == [1]

    # Devices and cursors.

    def test_a_device_that_is_not_open_is_behind_nowhere(self, users: Store) -> None:
        send(users, [message(1)])
        assert users.backlog("bob", "phone") == []
        assert users.backlog("alice", "pc") == []
        assert users.backlog("nobody", "pc") == []

    def test_the_first_lasting_device_starts_at_the_beginning_and_others_at_the_head(self, users: Store) -> None:
        send(users, [message(1), message(2)])
        users.open_device("bob", "~tmp", None, 1)
        users.open_device("bob", "phone", None, 1)
        users.open_device("bob", "laptop", None, 1)
        assert users.backlog("bob", "~tmp") == []
        assert users.backlog("bob", "phone") == [Backlog("alice@bob", 0, 2)]
        assert users.backlog("bob", "laptop") == []
        send(users, [message(3)])
        users = self.again(users)
        assert users.backlog("bob", "~tmp") == [Backlog("alice@bob", 2, 3)]
        assert users.backlog("bob", "phone") == [Backlog("alice@bob", 0, 3)]
        assert users.backlog("bob", "laptop") == [Backlog("alice@bob", 2, 3)]

    @pytest.mark.parametrize(("start", "delivered"), [(0, 5), (2, 3), (5, 0), (99, 0)])
    def test_a_device_starts_so_many_messages_before_the_head(self, users: Store, start: int, delivered: int) -> None:
        send(users, [message(number) for number in range(1, 6)])
        users.open_device("bob", "phone", start, 1)
        expected = [] if delivered == 5 else [Backlog("alice@bob", delivered, 5)]
        assert users.backlog("bob", "phone") == expected

    def test_conversations_that_come_later_start_at_the_beginning(self, users: Store) -> None:
        users.open_device("bob", "phone", 0, 1)
        send(users, [message(1), message(1, sender="carol")])
        assert users.backlog("bob", "phone") == [Backlog("alice@bob", 0, 1), Backlog("bob@carol", 0, 1)]

    def test_opening_a_known_device_changes_no_cursor(self, users: Store) -> None:
        send(users, [message(1), message(2)])
        users.open_device("bob", "phone", None, 1)
        users.open_device("bob", "phone", 0, 2)
        assert users.backlog("bob", "phone") == [Backlog("alice@bob", 0, 2)]

    def test_a_device_that_sent_first_was_created_when_it_opened(self, users: Store) -> None:
        send(users, [message(1)], 5000)
        device = message(1).device
        users.open_device("alice", device, None, 9000)
        assert [known.created_ms for known in users.devices("alice") if known.device == device] == [9000]

    def test_a_device_that_has_sent_is_new_when_it_opens(self, users: Store) -> None:
        users.open_device("alice", "first", None, 1)
        send(users, [message(1), message(2)])
        users.open_device("alice", "pc", None, 1)
        assert users.backlog("alice", "pc") == []
        assert users.last_message_id("alice", "pc") == 2

    def test_opening_a_device_of_nobody(self, users: Store) -> None:
        with pytest.raises(NoSuchAccountError, match="nobody"):
            users.open_device("nobody", "pc", None, 1)

    def test_cursors_move_forward_only_and_stop_at_the_head(self, users: Store) -> None:
        send(users, [message(number) for number in range(1, 6)])
        users.open_device("bob", "phone", None, 1)
        users.advance([cursor("bob", "phone", 3)])
        users.advance([cursor("bob", "phone", 2, 2)])
        users = self.again(users)
        assert users.backlog("bob", "phone") == [Backlog("alice@bob", 3, 5)]
        users.advance([cursor("bob", "phone", 99, 99)])
        assert users.backlog("bob", "phone") == []
        send(users, [message(6)])
        assert self.again(users).backlog("bob", "phone") == [Backlog("alice@bob", 5, 6)]

    def test_both_users_and_all_their_devices_have_cursors(self, users: Store) -> None:
        for user, device in (("alice", "pc"), ("bob", "phone"), ("bob", "laptop")):
            users.open_device(user, device, 0, 1)
        send(users, [message(1), message(2)])
        users.advance([cursor("alice", "pc", 1), cursor("bob", "phone", 2)])
        assert users.backlog("alice", "pc") == [Backlog("alice@bob", 1, 2)]
        assert users.backlog("bob", "phone") == []
        assert users.backlog("bob", "laptop") == [Backlog("alice@bob", 0, 2)]

    def test_cursors_of_what_does_not_exist_are_ignored(self, users: Store) -> None:
        send(users, [message(1)])
        users.open_device("carol", "phone", None, 1)
        users.advance(
            [
                cursor("nobody", "phone", 1),
                cursor("bob", "phone", 1),
                cursor("carol", "phone", 1),
                cursor("carol", "phone", 1, conversation="carol@carol"),
            ]
        )
        users.open_device("bob", "phone", None, 1)
        assert users.backlog("bob", "phone") == [Backlog("alice@bob", 0, 1)]
        assert users.joined("carol", "alice@bob") is None

    def test_forgetting_temporary_devices(self, users: Store) -> None:
        users.open_device("bob", "phone", None, 1000)
        users.open_device("bob", "~old", None, 1000)
        users.open_device("bob", "~seen", None, 1000)
        users.open_device("bob", "~new", None, 2000)
        send(users, [message(1, sender="bob", to="alice", device="~old")], 1500)
        send(users, [message(1, sender="bob", to="alice", device="~sent")], 2500)
        users.seen([("bob", "~seen"), ("bob", "~never"), ("nobody", "~seen")], 2000)
        users = self.again(users)
        assert users.forget_devices(1400) == 0
        assert users.forget_devices(2000) == 1
        assert users.forget_devices(2000) == 0
        assert users.backlog("bob", "~old") == []
        assert users.last_message_id("bob", "~old") == 0
        assert users.last_message_id("bob", "~sent") == 1
        assert users.backlog("bob", "~seen") == [Backlog("alice@bob", 0, 2)]
        assert users.backlog("bob", "phone") == [Backlog("alice@bob", 0, 2)]
        assert users.forget_devices(10_000) == 3
        assert users.last_message_id("bob", "~sent") == 0

    def test_a_forgotten_device_begins_anew(self, users: Store) -> None:
        send(users, [message(1, device="~x"), message(2, device="~x")], 1000)
        assert users.forget_devices(2000) == 1
        users = self.again(users)
        assert offsets(send(users, [message(1, device="~x")])) == [3]
        assert self.again(users).last_message_id("alice", "~x") == 1

    # Accounts.

    def test_accounts(self, store: Store) -> None:
        store.add_account("zoe", CREDENTIALS, True, 123)
        store.add_account("adam", CREDENTIALS, False, 456)
        store.set_disabled("zoe", True)
        store = self.again(store)
        zoe, adam = store.account("zoe"), store.account("adam")
        assert zoe
        assert zoe == ("zoe", CREDENTIALS, True, True, 123)
        assert adam == ("adam", CREDENTIALS, False, False, 456)
        assert store.accounts() == [adam, zoe]
        assert store.account("nobody") is None
        store.set_disabled("zoe", False)
        assert store.account("zoe") == zoe._replace(disabled=False)

    def test_a_name_is_given_once(self, users: Store) -> None:
        with pytest.raises(AccountExistsError, match="alice"):
            users.add_account("alice", CREDENTIALS, False, 1)

    def test_new_credentials(self, users: Store) -> None:
        users.set_credentials("alice", CREDENTIALS._replace(salt=b"new"))
        account = self.again(users).account("alice")
        assert account
        assert account.credentials == CREDENTIALS._replace(salt=b"new")

    def test_changing_nobody(self, users: Store) -> None:
        for change in (
            lambda: users.set_credentials("nobody", CREDENTIALS),
            lambda: users.set_disabled("nobody", True),
            lambda: users.remove_account("nobody"),
        ):
            with pytest.raises(NoSuchAccountError, match="nobody"):
                change()

    def test_account_changes(self, users: Store) -> None:
        assert users.account_changes() == []
        users.set_disabled("bob", True)
        users.set_credentials("alice", CREDENTIALS)
        users.set_disabled("bob", False)
        users.remove_account("carol")
        assert sorted(users.account_changes()) == ["alice", "bob", "carol"]
        assert users.account_changes() == []

    def test_messages_are_no_account_changes(self, users: Store) -> None:
        users.account_changes()
        send(users, [message(1)])
        users.open_device("bob", "phone", None, 1)
        assert users.account_changes() == []

    def test_the_secret_stays(self, store: Store) -> None:
        secret = store.secret()
        assert len(secret) == 32
        assert self.again(store).secret() == secret

    def test_the_generation_stays(self, store: Store) -> None:
        generation = store.generation()
        assert len(generation) == 16
        assert self.again(store).generation() == generation

    # Removed accounts.

    def test_a_removed_user_gets_no_messages(self, users: Store) -> None:
        send(users, [message(1)])
        users.remove_account("bob")
        answers = send(users, [message(2), message(1, sender="bob", to="alice"), message(3, to="carol")])
        assert [type(answer) for answer in answers] == [Refusal, Refusal, Appended]
        assert users.account("bob") is None
        assert users.backlog("bob", "phone") == []

    def test_a_repetition_to_a_removed_user_is_answered_as_before(self, users: Store) -> None:
        send(users, [message(1)])
        users.remove_account("bob")
        assert send(users, [message(1)], 9000) == [Appended(1, 5000, True)]

    def test_the_other_keeps_the_conversation(self, users: Store) -> None:
        users.open_device("alice", "phone", None, 1)
        send(users, [message(1)])
        users.remove_account("bob")
        users = self.again(users)
        assert users.backlog("alice", "phone") == [Backlog("alice@bob", 0, 1)]
        assert len(users.read("alice@bob", 0, 10, ALL)) == 1
        assert users.joined("alice", "alice@bob") == 0

    def test_somebody_of_the_same_name_gets_nothing_of_the_old(self, users: Store) -> None:
        users.open_device("alice", "pc", None, 1)
        users.open_device("bob", "phone", None, 1)
        send(users, [message(1), message(2), message(7, sender="bob", to="alice")])
        send(users, [message(1, sender="bob", to="bob")])
        users.remove_account("bob")
        add_users(users, "bob")
        users = self.again(users)
        assert users.last_message_id("bob", "pc") == 0
        users.open_device("bob", "phone", None, 2)
        assert users.backlog("bob", "phone") == []
        assert users.joined("bob", "alice@bob") is None
        assert offsets(send(users, [message(3), message(1, sender="bob", to="alice")])) == [4, 5]
        users = self.again(users)
        assert users.backlog("bob", "phone") == [Backlog("alice@bob", 3, 5)]
        assert users.joined("bob", "alice@bob") == 3
        assert users.backlog("alice", "pc") == [Backlog("alice@bob", 0, 5)]
        users.open_device("bob", "laptop", 99, 3)
        assert users.backlog("bob", "laptop") == [Backlog("alice@bob", 3, 5)]

    def test_joined(self, users: Store) -> None:
        send(users, [message(1)])
        assert users.joined("alice", "alice@bob") == 0
        assert users.joined("bob", "alice@bob") == 0
        assert users.joined("carol", "alice@bob") is None
        assert users.joined("alice", "alice@carol") is None
        assert users.joined("nobody", "alice@bob") is None

    # Groups.

    def test_a_group_keeps_all_its_changes(self, users: Store) -> None:
        send(users, [message(1)])
        with users.group():
            users.open_device("bob", "phone", None, 1)
            users.open_device("carol", "phone", None, 1)
            assert users.backlog("bob", "phone") == [Backlog("alice@bob", 0, 1)]
            users.advance([cursor("bob", "phone", 1)])
            with pytest.raises(AccountExistsError):
                users.add_account("alice", CREDENTIALS, False, 1)
            with pytest.raises(NoSuchAccountError):
                users.set_disabled("nobody", True)
            users.add_account("dave", CREDENTIALS, False, 1)
        users = self.again(users)
        assert users.backlog("bob", "phone") == []
        assert users.account("dave")
        assert offsets(send(users, [message(2, to="dave")])) == [1]

    def test_groups_may_be_empty(self, users: Store) -> None:
        with users.group():
            pass
        with users.group():
            assert users.last_message_id("alice", "pc") == 0
        assert offsets(send(users, [message(1)])) == [1]

    # Other threads, and the end.

    def test_readers_of_other_threads_see_what_was_stored_before(self, users: Store) -> None:
        reader = users.reader()
        send(users, [message(number) for number in range(1, 101)])
        users.open_device("bob", "phone", None, 1)
        seen: list[object] = []

        def look() -> None:
            seen.append([entry.offset for entry in reader.read("alice@bob", 0, 1000, ALL)])
            seen.append(reader.backlog("bob", "phone"))
            seen.append(reader.account("alice"))
            seen.append([account.name for account in reader.accounts()])
            seen.append(reader.joined("bob", "alice@bob"))
            reader.close()
            reader.close()

        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        assert seen == [
            list(range(1, 101)),
            [Backlog("alice@bob", 0, 100)],
            users.account("alice"),
            ["alice", "bob", "carol"],
            0,
        ]

    def test_maintenance_comes_to_an_end_and_changes_no_answer(self, users: Store) -> None:
        users.open_device("bob", "phone", None, 1)
        send(users, [message(number) for number in range(1, 501)])
        before = (users.read("alice@bob", 0, 1000, ALL), users.backlog("bob", "phone"))
        for idle in (False, True):
            for _ in range(1000):
                if not users.maintain(idle):
                    break
            else:
                pytest.fail("maintenance never ends")
            assert (users.read("alice@bob", 0, 1000, ALL), users.backlog("bob", "phone")) == before
        assert offsets(send(users, [message(500), message(501)])) == [500, 501]

    def test_closing_twice(self, store: Store) -> None:
        store.close()
        store.close()
