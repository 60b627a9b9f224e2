"""How far files are."""

from relay_chat.model.transfers import TOLD_EVERY_S, Transfer, TransferState


def test_a_bar_with_the_pace() -> None:
    transfer = Transfer("sending", 4_000_000)
    assert transfer.text(0) == "─" * 20 + "   0%  sending"
    assert transfer.move(0, 4_000_000, 10.0)
    transfer.move(1_000_000, 4_000_000, 11.0)
    assert transfer.text(11.0) == "━" * 5 + "─" * 15 + "  25%  sending, 1.0 MB/s"


def test_a_file_that_goes_on_is_not_credited_with_what_was_there() -> None:
    transfer = Transfer("fetching", 4_000_000)
    transfer.move(3_000_000, 4_000_000, 10.0)
    transfer.move(4_000_000, 4_000_000, 11.0)
    assert transfer.text(11.0).endswith("100%  fetching, 1.0 MB/s")


def test_progress_is_told_a_few_times_a_second() -> None:
    transfer = Transfer("sending", 1000)
    told = [transfer.move(done, 1000, 10 + done / 1000) for done in range(1001)]
    assert sum(told) <= 1 / TOLD_EVERY_S + 2 and told[-1]


def test_its_end() -> None:
    transfer = Transfer("sending", 0)
    assert transfer.text(0).endswith("0%  sending")
    transfer.end("no room", failed=True)
    assert (transfer.text(), transfer.state) == ("no room", TransferState.FAILED)
