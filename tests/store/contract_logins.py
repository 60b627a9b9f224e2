"""What every store must do for logins: tickets, what somebody who arrives is told, which iteration counts there are."""

import pytest

from relay.store.base import Arrival, HeldTicket, Role, Store
from tests.store.samples import CREDENTIALS, add_users, message, send


class LoginContract:
    """As StoreContract, which it is a part of."""

    @pytest.fixture
    def users(self, store: Store) -> Store:
        add_users(store, "alice", "bob", "carol")
        return store

    def again(self, store: Store) -> Store:
        return store

    # Tickets.

    def test_a_device_has_one_ticket_the_newest(self, users: Store) -> None:
        assert users.held_ticket("alice", "pc") is None
        for ticket in (HeldTicket(b"first", 1000), HeldTicket(b"second", 2000)):
            assert users.hold_ticket("alice", "pc", CREDENTIALS.stored_key, ticket)
        users = self.again(users)
        assert users.held_ticket("alice", "pc") == HeldTicket(b"second", 2000)
        assert users.held_ticket("alice", "phone") is None
        assert users.held_ticket("bob", "pc") is None

    def test_no_ticket_is_held_for_somebody_else(self, users: Store) -> None:
        users.set_disabled("bob", True)
        for user, key in (
            ("alice", b"another key"),
            ("nobody", CREDENTIALS.stored_key),
            ("bob", CREDENTIALS.stored_key),
        ):
            assert not users.hold_ticket(user, "pc", key, HeldTicket(b"mark", 1000))
            assert users.held_ticket(user, "pc") is None

    def test_tickets_are_revoked_with_what_they_stand_for(self, users: Store) -> None:
        def hold() -> None:
            for user, device in (("alice", "pc"), ("alice", "phone"), ("bob", "pc")):
                assert users.hold_ticket(user, device, CREDENTIALS.stored_key, HeldTicket(b"mark", 1000))

        hold()
        users.forget_device("alice", "pc")
        assert (users.held_ticket("alice", "pc"), users.held_ticket("alice", "phone") is None) == (None, False)
        hold()
        users.set_credentials("alice", CREDENTIALS)
        assert users.held_ticket("alice", "pc") is None
        hold()
        users.set_disabled("alice", True)
        users.set_disabled("alice", False)
        assert users.held_ticket("alice", "phone") is None
        hold()
        users.remove_account("alice")
        add_users(users, "alice")
        assert users.held_ticket("alice", "pc") is None
        assert users.held_ticket("bob", "pc") == HeldTicket(b"mark", 1000)

    def test_tickets_are_kept_and_forgotten(self, users: Store) -> None:
        for device, until_ms in (("pc", 1000), ("phone", 1000), ("tablet", 9000)):
            users.hold_ticket("alice", device, CREDENTIALS.stored_key, HeldTicket(b"mark", until_ms))
        users.keep_tickets([("alice", "phone"), ("alice", "tablet"), ("alice", "none"), ("nobody", "pc")], 5000)
        assert users.forget_tickets(1000) == 1
        users = self.again(users)
        assert users.held_ticket("alice", "pc") is None
        assert users.held_ticket("alice", "phone") == HeldTicket(b"mark", 5000)
        assert users.held_ticket("alice", "tablet") == HeldTicket(b"mark", 9000)

    def test_an_arrival_is_told_what_the_three_questions_tell(self, users: Store) -> None:
        send(users, [message(7)])
        users.create_room("#ops", "", True, "alice", 0)
        users.create_room("#out", "", True, "bob", 0)
        users.set_role("#out", "alice", Role.INVITED, 0)
        users.block("alice", "carol")
        assert users.arrival("alice", "pc") == Arrival(7, ["#ops"], ["carol"])
        assert users.arrival("alice", "phone") == Arrival(0, ["#ops"], ["carol"])
        users = self.again(users)
        assert users.arrival("alice", "pc") == Arrival(7, ["#ops"], ["carol"])
        assert users.arrival("nobody", "pc") == Arrival(0, [], [])

    def test_how_many_accounts_have_each_iteration_count(self, users: Store) -> None:
        users.add_account("dave", CREDENTIALS._replace(iterations=9000), False, 0)
        assert users.iterations() == {4096: 3, 9000: 1}
        assert users.reader().iterations() == {4096: 3, 9000: 1}
