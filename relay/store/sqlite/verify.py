"""Whether a database is whole: SQLite's own checks, every message against its checksum, and everything that must agree.

Read-only, on a snapshot, so it works beside a running relay. Memory: a number for each conversation.
"""

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from relay.protocol.addresses import conversation_members, is_name
from relay.store.base import StoreBrokenError, StoreError
from relay.store.sqlite.contents import damages, is_content, place_beside
from relay.store.sqlite.schema import KIND_DIRECT, KIND_ENDED, KIND_ROOM
from relay.store.sqlite.snapshot import Snapshot

# Of a database that is damaged everywhere, the first will do.
FINDINGS_MAX = 100

# A page of messages: what is read at once.
_PAGE = 500
_PAGE_BYTES = 4 * 1024 * 1024

OnProgress = Callable[[int, int], None]


class Finding(NamedTuple):
    """Something that is wrong, in a sentence; `part` is database, log, index, cursors, rooms, accounts or files."""

    part: str
    sentence: str


@dataclass
class Report:
    """What was looked at, and what is wrong with it. `more`: findings beyond FINDINGS_MAX. `remarks`: what is no
    damage, but somebody may want to mend.
    """

    findings: list[Finding] = field(default_factory=list)
    remarks: list[Finding] = field(default_factory=list)
    more: int = 0
    users: int = 0
    devices: int = 0
    rooms: int = 0
    conversations: int = 0
    messages: int = 0
    message_bytes: int = 0
    files: int = 0
    file_bytes: int = 0

    def add(self, part: str, sentence: str) -> None:
        """Note a finding."""
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(Finding(part, sentence))
        else:
            self.more += 1


def verify(path: Path, on_progress: OnProgress = lambda done, total: None) -> Report:
    """Look at everything in the database file. Raises StoreError if it is not one of this version at all.

    `on_progress(done, total)` is called often, with messages for a unit.
    """
    report = Report()
    try:
        snapshot = Snapshot(path)
    except StoreBrokenError as error:
        report.add("database", str(error))
        return report
    with snapshot:
        for part, check in (
            ("database", _check_database),
            ("log", _check_facts),
            ("accounts", _check_accounts),
            ("rooms", _check_rooms),
        ):
            with _noting(report, part):
                check(snapshot, report)
        with _noting(report, "log"):
            _Logs(snapshot, report, on_progress).check()
        with _noting(report, "files"):
            _check_files(snapshot, path, report, on_progress)
    return report


@contextmanager
def _noting(report: Report, part: str) -> Iterator[None]:
    """What cannot be read is a finding, too."""
    try:
        yield
    except (apsw.Error, StoreError) as error:
        report.add(part, f"cannot be read: {error}")
    except (TypeError, ValueError, LookupError, ArithmeticError, struct.error) as error:
        # Damage may have changed even the type of a value.
        report.add(part, f"holds a value that cannot be: {error}")


def _check_database(snapshot: Snapshot, report: Report) -> None:
    rows = snapshot.database.rows(f"PRAGMA integrity_check({FINDINGS_MAX})")
    for (sentence,) in rows:
        if sentence != "ok":
            report.add("database", str(sentence))


def _check_facts(snapshot: Snapshot, report: Report) -> None:
    facts = dict(snapshot.database.rows("SELECT name, value FROM facts"))
    secret, generation = facts.get("secret"), facts.get("generation")
    if not isinstance(secret, bytes) or len(secret) != 32:
        report.add("accounts", "the relay's secret is missing or altered")
    if not isinstance(generation, str) or len(generation) != 16:
        report.add("log", "the generation of the logs is missing or altered")
    if not isinstance(facts.get("indexed_seq"), int):
        report.add("index", "how far it goes is not known")


def _check_accounts(snapshot: Snapshot, report: Report) -> None:
    sql = "SELECT name, length(salt), iterations, length(stored_key), length(server_key), bot, disabled FROM users"
    for name, salt, iterations, stored_key, server_key, bot, disabled in snapshot.database.execute(sql):
        report.users += 1
        whole = salt and iterations > 0 and stored_key and server_key and bot in (0, 1) and disabled in (0, 1)
        if not is_name(name) or not whole:
            report.add("accounts", f"the account {name!r} is altered")
    sql = "SELECT d.name, d.opened, d.temporary, u.id FROM devices d LEFT JOIN users u ON u.id = d.user_id"
    for name, opened, temporary, user_id in snapshot.database.execute(sql):
        report.devices += 1
        if user_id is None or not is_name(name) or opened not in (0, 1) or temporary != name.startswith("~"):
            report.add("accounts", f"the device {name!r} is altered, or belongs to nobody")


# Rooms that nobody can look after.
_REMARKS = (
    (
        "rooms",
        "{} has nobody in it",
        """
        SELECT c.name FROM rooms r JOIN conversations c ON c.id = r.conversation_id
        WHERE NOT EXISTS (SELECT 1 FROM members WHERE conversation_id = c.id AND role >= 0)""",
    ),
    (
        "rooms",
        "{} has no owner",
        """
        SELECT c.name FROM rooms r JOIN conversations c ON c.id = r.conversation_id
        WHERE NOT EXISTS (SELECT 1 FROM members WHERE conversation_id = c.id AND role = 2)""",
    ),
)

# What must not be there, for each part: a sentence, and what selects a name for it. Roles and kinds as in `schema`.
_NEVER = (
    ("rooms", "{} has members but is no conversation", """
        SELECT DISTINCT conversation_id FROM members WHERE conversation_id NOT IN (SELECT id FROM conversations)"""),
    ("rooms", "{} has a member who does not exist", """
        SELECT c.name FROM members m JOIN conversations c ON c.id = m.conversation_id
        WHERE m.user_id NOT IN (SELECT id FROM users)"""),
    ("rooms", "{} has a member with a role that does not exist", """
        SELECT c.name FROM members m JOIN conversations c ON c.id = m.conversation_id
        WHERE m.role NOT BETWEEN -2 AND 2"""),
    ("rooms", "room number {} has no conversation", """
        SELECT r.conversation_id FROM rooms r LEFT JOIN conversations c ON c.id = r.conversation_id
        WHERE c.id IS NULL OR c.kind != 1"""),
    ("rooms", "a block names somebody who does not exist ({})", """
        SELECT user_id FROM blocks WHERE user_id NOT IN (SELECT id FROM users)
        OR blocked_id NOT IN (SELECT id FROM users)"""),
    ("cursors", "device {} has a cursor but does not exist", """
        SELECT DISTINCT device_id FROM cursors WHERE device_id NOT IN (SELECT id FROM devices)"""),
    ("cursors", "device number {} has message ids but does not exist", """
        SELECT DISTINCT device_id FROM sent WHERE device_id NOT IN (SELECT id FROM devices)"""),
    ("index", "conversation number {} does not exist", """
        SELECT DISTINCT conversation_id FROM runs WHERE conversation_id NOT IN (SELECT id FROM conversations)"""),
    ("index", "a run of conversation number {} is cut", "SELECT conversation_id FROM runs WHERE length(seqs) % 8"),
)  # fmt: skip


def _check_rooms(snapshot: Snapshot, report: Report) -> None:
    for part, sentence, sql in _NEVER:
        for (name,) in snapshot.database.rows(f"{sql} LIMIT {FINDINGS_MAX}"):
            report.add(part, sentence.format(name))
    for part, sentence, sql in _REMARKS:
        for (name,) in snapshot.database.rows(f"{sql} LIMIT {FINDINGS_MAX}"):
            report.remarks.append(Finding(part, sentence.format(name)))
    report.rooms = snapshot.database.rows("SELECT count(*) FROM rooms")[0][0]


def _check_files(snapshot: Snapshot, path: Path, report: Report, on_progress: OnProgress) -> None:
    """Every file's row, and every content against its hash."""
    sql = "SELECT id, size, hash, name, owner_id FROM files"
    for id, size, hash, name, owner_id in snapshot.database.execute(sql):
        report.files += 1
        if not is_content(size, hash) or not isinstance(name, str) or not isinstance(owner_id, int):
            report.add("files", f"the file {id!r} is altered")
    if report.findings:
        return
    for content, problem in damages(path, place_beside(path), on_progress):
        report.file_bytes += content.size
        if problem is not None:
            report.add("files", f"the content {content.hash.hex()} {problem}")


class _Logs:
    """The logs, read as the relay reads them, and what refers to them."""

    def __init__(self, snapshot: Snapshot, report: Report, on_progress: OnProgress) -> None:
        self._snapshot = snapshot
        self._report = report
        self._on_progress = on_progress
        self._rows = snapshot.database.rows
        self._total = 0
        # conversation id -> offset of its last message.
        self._heads: dict[int, int] = {}

    def check(self) -> None:
        """Raises apsw.Error, StoreError."""
        self._total = self._snapshot.count_messages()
        last = 0
        while rows := self._rows(
            "SELECT id, name, kind, first_kept FROM conversations WHERE id > ? ORDER BY id LIMIT 1000", (last,)
        ):
            for conversation in rows:
                with _noting(self._report, "log"):
                    self._check_conversation(*conversation)
            last = rows[-1][0]
        found = self._report.messages
        if found != self._total and not self._report.findings:
            self._report.add("index", f"{self._total} messages are in the log, but {found} are found by their offset")
        with _noting(self._report, "cursors"):
            self._check_cursors()
        with _noting(self._report, "index"):
            self._check_message_ids()

    def _check_conversation(self, number: int, name: str, kind: int, first_kept: int) -> None:
        self._report.conversations += 1
        members = conversation_members(name)
        direct = members is not None and all(is_name(member) for member in members) and members[0] <= members[1]
        if (
            not (direct if kind == KIND_DIRECT else kind in (KIND_ROOM, KIND_ENDED) and name.startswith("#"))
            or first_kept < 1
        ):
            self._report.add("rooms", f"conversation {name!r} is altered")
        head = self._heads[number] = self._snapshot.reader.head(name)
        if head < first_kept - 1:
            self._report.add("log", f"{name} ends at {head}, before the first offset that is kept, {first_kept}")
        after = first_kept - 1
        while after < head:
            after = self._read_page(name, after, head)
            self._on_progress(self._report.messages, self._total)

    def _read_page(self, name: str, after: int, head: int) -> int:
        """Read a page; returns its last offset, whether all of it could be read or not."""
        try:
            return self._count(name, after, self._snapshot.reader.read(name, after, _PAGE, _PAGE_BYTES))
        except StoreError:
            return self._read_singly(name, after, min(after + _PAGE, head))

    def _read_singly(self, name: str, after: int, last: int) -> int:
        for offset in range(after, last):
            try:
                self._count(name, offset, self._snapshot.reader.read(name, offset, 1, _PAGE_BYTES))
            except StoreError as error:
                self._report.add("log", f"message {offset + 1} of {name} is missing or altered ({error})")
        return last

    def _count(self, name: str, after: int, entries: list[Any]) -> int:
        if not entries or [entry.offset for entry in entries] != list(range(after + 1, after + 1 + len(entries))):
            raise StoreError(f"offsets after {after} of {name} are not contiguous")
        self._report.messages += len(entries)
        self._report.message_bytes += sum(len(entry.packet) for entry in entries)
        return after + len(entries)

    def _check_cursors(self) -> None:
        sql = "SELECT device_id, conversation_id, delivered, read FROM cursors"
        for device_id, conversation_id, delivered, read in self._snapshot.database.execute(sql):
            head = self._heads.get(conversation_id)
            if head is None or not 0 <= delivered <= head or not 0 <= read <= head:
                where = f"device {device_id} is at {delivered} and {read} of conversation {conversation_id}"
                self._report.add("cursors", f"{where}, which ends at {head}")
        sql = "SELECT user_id, conversation_id, joined FROM members"
        for user_id, conversation_id, joined in self._snapshot.database.execute(sql):
            if not 0 <= joined <= self._heads.get(conversation_id, 0):
                where = f"user {user_id} joined conversation {conversation_id} at {joined}"
                self._report.add("cursors", f"{where}, which is not in its log")

    def _check_message_ids(self) -> None:
        """What recognises a repetition must name messages of that device."""
        for device_id, message_id in self._snapshot.strange_ids():
            self._report.add("index", f"message id {message_id} of device {device_id} names another message")
