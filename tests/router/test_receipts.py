"""How far others are, told to those who asked, a few times a second."""

from relay.protocol.codes import CloseCode
from relay.router.receipts import MEMBERS_MAX
from tests.router.recording import RecordingSubscriber
from tests.router.test_presence import events
from tests.router.town import Town

ALICE_BOB = "alice@bob"


class Desk:
    """Alice's phone watches; Bob reads."""

    def __init__(self) -> None:
        self.town = Town("alice", "bob", "carol")
        self.phone = self.town.join("alice", rooms=("#ops",))
        self.bob = self.town.join("bob", rooms=("#ops",))
        self.town.router.receipts.watch(self.phone, True)

    def told(
        self, session: RecordingSubscriber | None = None
    ) -> list[tuple[str, str, int, int | None, dict[str, int]]]:
        self.town.router.receipts.tick()
        return [
            (event["conversation"], event["user"], event["delivered"], event["read"], event["devices"])
            for event in events(session or self.phone)
            if event["event"] == "receipt"
        ]


def test_what_moved_is_told_once_as_it_is_now() -> None:
    at = Desk()
    for delivered in (1, 2, 3):
        at.town.acknowledge(at.bob, ALICE_BOB, delivered, 2 if delivered == 3 else None)
    assert at.told() == [(ALICE_BOB, "bob", 3, 2, {"phone": 3})]
    assert at.told() == []


def test_several_devices_are_one_receipt() -> None:
    at = Desk()
    laptop = at.town.join("bob", "laptop")
    at.town.acknowledge(at.bob, ALICE_BOB, 3, 1)
    at.town.acknowledge(laptop, ALICE_BOB, 5)
    assert at.told() == [(ALICE_BOB, "bob", 5, 1, {"phone": 3, "laptop": 5})]


def test_own_progress_is_told_to_ones_other_devices_only() -> None:
    at = Desk()
    laptop = at.town.join("alice", "laptop")
    at.town.router.receipts.watch(laptop, True)
    at.town.acknowledge(at.phone, ALICE_BOB, 3)
    at.town.router.receipts.tick()
    assert at.told() == []
    assert [event["devices"] for event in events(laptop)] == [{"phone": 3}]


def test_who_did_not_ask_or_asks_no_more_is_not_told() -> None:
    at = Desk()
    at.town.acknowledge(at.phone, ALICE_BOB, 3)
    assert at.told(at.bob) == []
    at.town.router.receipts.watch(at.phone, False)
    at.town.acknowledge(at.bob, ALICE_BOB, 3)
    assert at.told() == []


def test_a_room_tells_its_members_and_nobody_else() -> None:
    at = Desk()
    carol = at.town.join("carol")
    at.town.router.receipts.watch(carol, True)
    at.town.acknowledge(at.bob, "#ops", 4)
    at.town.router.receipts.tick()
    assert [event["conversation"] for event in events(at.phone)] == ["#ops"]
    assert events(carol) == []


def test_a_large_room_tells_nobody() -> None:
    at = Desk()
    for number in range(MEMBERS_MAX):
        at.town.join(f"user{number}", rooms=("#ops",))
    at.town.acknowledge(at.bob, "#ops", 4)
    assert at.told() == []


def test_whoever_left_is_forgotten() -> None:
    at = Desk()
    at.phone.end(CloseCode.NORMAL, "bye")
    at.town.acknowledge(at.bob, ALICE_BOB, 3)
    assert at.told() == []
    assert not at.town.router.receipts._moved
