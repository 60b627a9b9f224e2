"""Test tool: a router over a log that moves step by step, with users, and sessions that record what they are sent."""

from typing import Any

from relay.protocol.packets import Ack, Call, Fault, Message, Result, encode, encode_payload
from relay.protocol.payloads import Value, decode_body, encode_body
from relay.protocol.scram import Credentials
from relay.router.membership import Bounds
from relay.router.router import Clocks, Limits, Router
from relay.store.base import Store
from tests.router.recording import RecordingOutlet, RecordingSubscriber, SteppedLog

NO_CREDENTIALS = Credentials(b"", 0, b"", b"")


class Town:
    """`time_ms` and `now_s` are the clocks; the test moves them."""

    def __init__(
        self,
        *users: str,
        sessions_per_user_max: int = 8,
        calls_in_flight_max: int = 100,
        store: Store | None = None,
    ) -> None:
        self.time_ms = 1_000_000
        self.now_s = 100.0
        self.log = SteppedLog(store)
        self.router = Router(
            self.log,
            "relay/test",
            Clocks(lambda: self.time_ms, lambda: self.now_s),
            Limits(sessions_per_user_max, calls_in_flight_max, Bounds(5, 4)),
        )
        self.log.on_appended = self.router.conversations.handle_appended
        for user in users:
            self.log.store.add_account(user, NO_CREDENTIALS, False, 0)

    def join(
        self,
        user: str,
        device: str = "phone",
        *,
        outlet: RecordingOutlet | None = None,
        bot: bool = False,
        rooms: tuple[str, ...] = (),
        blocked: tuple[str, ...] = (),
        receiving: bool = False,
    ) -> RecordingSubscriber:
        """A login, with what the store would say of the user's rooms and blocks."""
        session = RecordingSubscriber(user, device, outlet=outlet, leave=self.router.leave, bot=bot)
        with self.router.expecting(user):
            self.router.learn(user, rooms, blocked)
            self.router.enter(session)
        if receiving:
            assert isinstance(self.ask(session, "messages.receive")["new"], bool)
        return session

    def send(self, session: RecordingSubscriber, to: str, id: int, body: bytes = b"hi") -> bytes:
        """A message, on its way to the disk. Returns its payload."""
        message = Message(session.address, to, id, "", body)
        self.router.conversations.submit(session, message.to, message.id, encode_payload(message))
        return encode_payload(message)

    def acknowledge(
        self, session: RecordingSubscriber, conversation: str, delivered: int, read: int | None = None
    ) -> None:
        self.router.conversations.acknowledge(session, Ack(conversation, delivered, read))

    def call(self, session: RecordingSubscriber, method: str, arguments: Value | bytes = b"", id: int = 77) -> None:
        """A call to the relay; `arguments` as bytes are a body as it is."""
        content_type, body = (
            ("application/msgpack", arguments) if isinstance(arguments, bytes) else encode_body(arguments)
        )
        call = Call(session.address, "relay", id, method, 5000, content_type, body)
        self.router.call(session, call, encode(call))

    def ask(self, session: RecordingSubscriber, method: str, arguments: Value | bytes = b"") -> Any:
        """The result of a call to the relay, or the code of its fault. Everything else that waits is taken out."""
        session.outlet.take()
        self.call(session, method, arguments)
        self.log.run()
        answers = [p for p in session.outlet.take() if isinstance(p, Result | Fault)]
        assert len(answers) == 1, answers
        return self.value(answers[0])

    @staticmethod
    def value(answer: Result | Fault) -> Any:
        assert answer.sender == "relay"
        if isinstance(answer, Fault):
            assert 0 < len(answer.sentence.encode()) <= 256
            return answer.code
        return decode_body(answer.content_type, answer.body)

    def cursor(self, user: str, device: str, conversation: str) -> int:
        """How far the store thinks the device is: the head, or less if it is behind."""
        for name, delivered, _ in self.log.store.backlog(user, device):
            if name == conversation:
                return delivered
        return len(self.log.store.read(conversation, 0, 10_000, 1 << 30))
