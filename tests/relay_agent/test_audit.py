"""The audit log: whole lines, whatever happens to the file."""

import json
from pathlib import Path

import pytest
from relay_agent.audit import REFUSALS_MAX_PER_S, Audit


def rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_for_each_event(tmp_path: Path) -> None:
    audit = Audit(tmp_path / "audit")
    audit.check()
    assert (tmp_path / "audit").stat().st_mode & 0o777 == 0o600
    audit.write("began", {"user": "alice", "arguments": ("a\nb", "\x1b[31m\u202eü")})
    audit.write("ended", {"user": "alice"})
    assert (tmp_path / "audit").read_bytes().isascii()
    first, second = rows(tmp_path / "audit")
    assert (first["event"], first["arguments"]) == ("began", ["a\nb", "\x1b[31m\u202eü"])
    assert str(second["time"]).endswith("Z") and second["event"] == "ended"


def test_the_file_may_be_rotated(tmp_path: Path) -> None:
    audit = Audit(tmp_path / "audit")
    audit.write("began", {})
    (tmp_path / "audit").rename(tmp_path / "audit.1")
    audit.write("ended", {})
    assert [row["event"] for row in rows(tmp_path / "audit")] == ["ended"]


def test_very_many_refusals_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    audit = Audit(tmp_path / "audit")
    for _ in range(REFUSALS_MAX_PER_S + 7):
        audit.refused({"user": "mallory"})
    assert len(rows(tmp_path / "audit")) == REFUSALS_MAX_PER_S
    now = 101.0
    audit.refused({"user": "mallory"})
    assert rows(tmp_path / "audit")[-1]["left_out"] == 7


def test_what_cannot_be_written_raises(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        Audit(tmp_path / "missing" / "audit").check()
    with pytest.raises(OSError, match="No space left"):
        Audit(Path("/dev/full")).write("began", {})
