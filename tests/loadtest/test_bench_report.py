"""From figures to tables, ratios, warnings and plots; and the server as a process."""

import os
import sys
from array import array
from pathlib import Path
from typing import ClassVar
from xml.etree import ElementTree

import pytest

from loadtest.bench import plots, report
from loadtest.bench.dialects.base import Dialect, Login, Place, Seat, Wire
from loadtest.bench.generator import Generator, GeneratorError
from loadtest.bench.plays import shares_of
from loadtest.bench.runner import Figure, percentiles, share_cores
from loadtest.bench.server import Server, ServerError, Usage, read_rss_bytes, read_usage
from loadtest.bench.works import Work

SVG = "{http://www.w3.org/2000/svg}"


def figure(server: str, number: int, cost: float, **rest: object) -> Figure:
    made = Figure("pipe-1", server, 2, 128, 1000.0, cost, cost / 2, 1.0, 2.0, 3.0, 10.0)
    made.round, made.generator_cpu_percent, made.server_cpu_percent = number, 10.0, 50.0
    for name, value in rest.items():
        setattr(made, name, value)
    return made


def test_medians_with_their_spread() -> None:
    (summary,) = report.summarise([figure("relay", n, cost) for n, cost in enumerate((5.0, 1.0, 2.0))])
    assert summary["cpu_us_per_message"] == 2.0
    assert (summary["cpu_us_per_message_min"], summary["cpu_us_per_message_max"]) == (1.0, 5.0)
    assert summary["rounds"] == 3
    assert summary["relay_ratio"] is None


def test_ratios_are_taken_within_a_round() -> None:
    # The machine was twice as slow in the second round; the ratio is the same in both.
    figures = [figure("relay", 1, 1.0), figure("nats", 1, 4.0), figure("relay", 2, 2.0), figure("nats", 2, 8.0)]
    _, nats = report.summarise(figures)
    assert nats["relay_ratio"] == 0.25


def test_memory_is_compared_where_it_is_what_was_measured() -> None:
    idle = {"work": "idle-10", "cpu_us_per_message": None}
    figures = [
        figure("relay", 1, 1.0, kb_per_connection=4.0, **idle),
        figure("nats", 1, 1.0, kb_per_connection=20.0, **idle),
    ]
    _, nats = report.summarise(figures)
    assert nats["relay_ratio"] == 0.2


def test_a_table_leaves_out_what_nobody_measured() -> None:
    text = report.table(report.summarise([figure("relay", 1, 0.1234)]))
    assert "0.123" in text
    assert "KB/conn" not in text
    markdown = report.table(report.summarise([figure("relay", 1, 1.0), figure("relay", 2, 3.0)]), markdown=True)
    assert markdown.splitlines()[1].startswith("| --- | --- | ---: |")
    assert "1-3" in markdown


def test_warnings() -> None:
    busy = figure("redis", 1, 1.0, generator_cpu_percent=99.0)
    late = figure("nats", 1, 1.0, lag_p99_ms=5.0)
    lost = figure("relay", 1, 1.0, lost=3, notes=["3 of 9 did not arrive as sent"])
    text = "\n".join(report.warnings(report.summarise([busy, late, lost]), 1))
    assert "pipe-1 on redis: the generator was the bottleneck" in text
    assert "pipe-1 on nats: the generator was late itself" in text
    assert "pipe-1 on relay: 3 of 9" in text
    assert report.warnings(report.summarise([busy]), 2) == []


def test_percentiles() -> None:
    values = array("d", range(1000, 0, -1))
    assert percentiles(values, (0.5, 0.99, 0.999)) == [501, 991, 1000]
    assert percentiles(array("d"), (0.5,)) == [None]


def test_a_plot_has_a_line_for_each_server() -> None:
    pytest.importorskip("matplotlib")
    figures = [
        figure(server, 1, size / 100, payload_bytes=size) for server in ("relay", "nats") for size in (16, 128, 65536)
    ]
    drawn = plots.plot(report.summarise(figures))
    texts = {text.text for text in ElementTree.fromstring(drawn).iter(f"{SVG}text")}
    assert {"relay", "nats", "16", "128", "65,536", "payload, bytes"} <= texts
    assert drawn == plots.plot(report.summarise(figures))


def test_lines_are_in_order_and_leave_out_what_failed() -> None:
    figures = [figure("relay", 1, cost, payload_bytes=size) for size, cost in ((128, 2.0), (16, 1.0))]
    figures.append(figure("nats", 1, 1.0, payload_bytes=16, cpu_us_per_message=None))
    lines = plots.series(report.summarise(figures), "payload_bytes")
    assert lines == [plots.Series("relay", [(16, 1.0, 1.0, 1.0), (128, 2.0, 2.0, 2.0)])]


def test_a_plot_of_a_run_that_failed_says_so() -> None:
    pytest.importorskip("matplotlib")
    assert "nothing was measured" in plots.plot([])


class Silent(Dialect):
    """A server that listens and says nothing, or one that fails."""

    name: ClassVar[str] = "silent"
    install: ClassVar[str] = ""
    announces_port: ClassVar[bool] = True

    def __init__(self, program: str) -> None:
        self._program = program

    def version(self) -> str | None:
        return "1"

    def command(self, place: Place) -> list[str]:
        return [sys.executable, "-u", "-c", self._program]

    def login(self, seat: Seat, listen: bool) -> Login:
        yield b"hello"

    def signal(self, sender: Seat, to: Seat, payload: bytes) -> Wire:
        return Wire(payload, len(payload))


LISTENS = """
import socket
server = socket.create_server(("127.0.0.1", 0))
print(f"listening on 127.0.0.1:{server.getsockname()[1]}")
while True:
    server.accept()[0].close()
"""


def test_a_server_is_gone_afterwards_and_so_are_its_files() -> None:
    with Server(Silent(LISTENS), "pipe", [], ()) as server:
        assert server.address[1] > 0
        pid = server.pid
        directory = Path(f"/proc/{pid}/fd/1").readlink().parent
        assert server.rss_bytes() > 2**20
        assert server.usage().cpu_s > 0
    assert not Path(f"/proc/{pid}").exists()
    assert not directory.exists()


def test_a_server_that_does_not_start_is_quoted() -> None:
    with (
        pytest.raises(ServerError, match="no such luck"),
        Server(Silent("raise SystemExit('no such luck')"), "p", [], ()),
    ):
        pass


def test_a_server_that_hangs_up_is_an_error_of_the_measurement() -> None:
    with Server(Silent(LISTENS), "pipe", [], ()) as server:
        generator = Generator(Silent(LISTENS), Work("pipe", 2), server.address, ())
        with generator, pytest.raises(GeneratorError, match=r"hung up|logging in"):
            generator.connect(lambda _: None)


def test_usage_is_split_as_the_kernel_sampled_it() -> None:
    used = Usage(10.0, 4.0, 5.0).since(Usage(6.0, 1.0, 4.0))
    assert used == Usage(4.0, 3.0, 1.0)
    assert read_usage(os.getpid()).cpu_s > 0
    assert read_rss_bytes(os.getpid()) > 2**20


def test_cores_are_divided_without_overlap() -> None:
    cores = len(os.sched_getaffinity(0))
    server, generator = share_cores(None, 1)
    assert not set(server) & set(generator)
    assert len(server) + len(generator) == (cores if cores > 1 else 0)
    assert len(share_cores(1, 1)[0]) == (1 if cores > 1 else 0)


def test_what_has_one_centre_is_not_divided() -> None:
    assert shares_of(Work("fan", 500), 4) == 1
    assert shares_of(Work("pipe", 50), 4) == 4
    assert shares_of(Work("pipe", 2), 4) == 1
