"""The command: `python -m loadtest.bench`."""

import argparse
import signal
import sys
from collections.abc import Sequence
from functools import partial
from itertools import product
from pathlib import Path

from loadtest.bench import plots, report
from loadtest.bench.dialects import DIALECTS
from loadtest.bench.dialects.base import Dialect
from loadtest.bench.generator import GeneratorError
from loadtest.bench.links import allow_descriptors
from loadtest.bench.runner import Conditions, Figure, measure, share_cores
from loadtest.bench.server import ServerError
from loadtest.bench.works import BURST, DEFAULT, EXPLAINED, PAYLOAD_BYTES, QUICK, Work, WorkError, parse_work

_EXAMPLES = """
examples:
  python -m loadtest.bench                                  this relay, every work
  python -m loadtest.bench --peers --rounds 5               side by side with the brokers that are installed
  python -m loadtest.bench --quick --peers                  the same in a few minutes
  python -m loadtest.bench pingpong-1000 pipe-50 --servers relay,redis
  python -m loadtest.bench pipe-1 --payload 16,128,1024,8192,65536 --json payload.jsonl
  python -m loadtest.bench pingpong --connections 10,100,1000,10000 --plot docs/benchmarks/connections.svg

works:
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0, 1 if something could not be measured or got lost, 2 for a wrong argument, 130 after Ctrl-C."""
    options = _parser().parse_args(arguments)
    _fill_in(options)
    allow_descriptors()
    try:
        works = _works(options)
        dialects = _dialects(options)
    except WorkError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    server_cores, generator_cores = share_cores(options.server_cores, options.generators)
    conditions = Conditions(options.seconds, options.warm_up, server_cores, generator_cores)
    bench = Bench(conditions, dialects)
    bench.introduce()
    code = 0
    try:
        for number in range(1, options.rounds + 1):
            for work in works:
                bench.round(work, number)
    except KeyboardInterrupt:
        bench.clear()
        print("stopped; the servers are gone. What was measured so far:")
        code = 130
    return max(code, bench.finish(options))


class Bench:
    """A whole run: its figures so far, and the line on the terminal that says what goes on."""

    def __init__(self, conditions: Conditions, dialects: Sequence[Dialect]) -> None:
        self._conditions = conditions
        self._dialects = [(dialect, version) for dialect in dialects if (version := dialect.version()) is not None]
        self._missing = [dialect for dialect in dialects if dialect.version() is None]
        self._figures: list[Figure] = []
        self._failed = False
        self._live = sys.stderr.isatty()

    def introduce(self) -> None:
        """Say what is measured on what."""
        server, generator = self._conditions.server_cores, self._conditions.generator_cores
        cores = f"server on core(s) {_list(server)}, generator on {_list(generator)}" if server else "one core for all"
        print(f"{', '.join(f'{dialect.name} {version}' for dialect, version in self._dialects)}; {cores}")
        for dialect in self._missing:
            print(f"{dialect.name} is not installed and is skipped; to include it: {dialect.install}")

    def round(self, work: Work, number: int) -> None:
        """Measure one work once on every server that can do it."""
        for dialect, version in self._dialects:
            if work.kind not in dialect.kinds:
                if number == 1:
                    self.clear()
                    print(f"{dialect.name} has nothing like {work.name}; skipped")
                continue
            where = f"round {number}: {work.name} {work.payload_bytes} B on {dialect.name}"
            say = partial(self._say, where)
            try:
                for figure in measure(dialect, work, self._conditions, say):
                    figure.round, figure.version = number, version
                    self._figures.append(figure)
            except (ServerError, GeneratorError) as error:
                self._failed = True
                self.clear()
                print(f"{where}: failed: {error}", file=sys.stderr)

    def finish(self, options: argparse.Namespace) -> int:
        """Show everything; returns the exit code."""
        self.clear()
        summaries = report.summarise(self._figures)
        if summaries:
            print(report.table(summaries, options.markdown))
        for line in report.warnings(summaries, max(1, len(self._conditions.generator_cores))):
            print(line)
        if options.json is not None:
            options.json.write_text(report.json_lines(summaries))
        if options.plot is not None:
            options.plot.write_text(plots.plot(summaries))
        return int(self._failed or any(summary["lost"] for summary in summaries))

    def clear(self) -> None:
        """Remove the line that says what goes on."""
        if self._live:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def _say(self, where: str, text: str) -> None:
        if self._live:
            print(f"\r\x1b[K{where}: {text}", end="", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, EXPLAINED))
    works = "\n".join(f"  {name:<{width}}  {text}" for name, text in EXPLAINED.items())
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.bench",
        description="Measure what a message costs this relay, alone or side by side with other brokers.",
        epilog=_EXAMPLES + works,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("works", nargs="*", metavar="WORK", help="what to measure; default: everything")
    parser.add_argument("--peers", action="store_true", help="measure the other brokers, too")
    parser.add_argument("--servers", metavar="NAMES", help=f"measure these, of {', '.join(DIALECTS)}")
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds; the table shows medians (default 3, quick 1)")
    parser.add_argument("--seconds", type=float, metavar="S", help="counted time of a run (default 3, quick 1)")
    parser.add_argument("--warm-up", type=float, metavar="S", help="time before that (default 1, quick 0.3)")
    parser.add_argument("--payload", metavar="BYTES", help=f"sizes, with commas (default {PAYLOAD_BYTES})")
    parser.add_argument("--burst", type=int, default=BURST, metavar="N", help="messages a write (default %(default)s)")
    parser.add_argument("--connections", metavar="NUMBERS", help="numbers for works that are named without one")
    parser.add_argument("--server-cores", type=int, metavar="N", help="cores a server may use (default: all others)")
    parser.add_argument("--generators", type=int, default=1, metavar="N", help="generator processes, a core each")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write one JSON object a line")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw an SVG of cost against what was varied")
    parser.add_argument("--quick", action="store_true", help="smaller, shorter, one round")
    return parser


def _fill_in(options: argparse.Namespace) -> None:
    """The defaults that depend on --quick."""
    quick, usual = (1, 1.0, 0.3), (3, 3.0, 1.0)
    for name, value in zip(("rounds", "seconds", "warm_up"), quick if options.quick else usual, strict=True):
        if getattr(options, name) is None:
            setattr(options, name, value)


def _works(options: argparse.Namespace) -> list[Work]:
    """Every work at every payload size. Raises WorkError."""
    payloads = _numbers(options.payload) or [PAYLOAD_BYTES]
    names = list(options.works or (QUICK if options.quick else DEFAULT))
    numbers = _numbers(options.connections)
    full = [
        f"{name}-{number}" if number else name
        for name in names
        for number in (numbers if numbers and "-" not in name else [0])
    ]
    works = [parse_work(name, size, options.burst) for name, size in product(full, payloads)]
    if options.plot is not None:
        _check_plot(works)
    return works


def _check_plot(works: Sequence[Work]) -> None:
    sizes, numbers = {work.payload_bytes for work in works}, {work.number for work in works}
    if len({work.kind for work in works}) != 1 or (len(sizes) > 1) == (len(numbers) > 1):
        raise WorkError(
            "a plot shows one kind of work at several payload sizes or at several numbers of connections, such as "
            "`pipe-1 --payload 16,128,1024` or `pingpong --connections 10,100,1000`"
        )
    if not plots.can_draw():
        raise WorkError(f"--plot needs matplotlib, which is not installed: {plots.INSTALL}")


def _dialects(options: argparse.Namespace) -> list[Dialect]:
    """The servers asked for. Raises WorkError."""
    if not options.servers:
        return list(DIALECTS.values()) if options.peers else [DIALECTS[report.OURS]]
    names = options.servers.split(",")
    unknown = [name for name in names if name not in DIALECTS]
    if unknown:
        raise WorkError(f"there is no server {unknown[0]!r}; there are {', '.join(DIALECTS)}")
    return [DIALECTS[name] for name in names]


def _numbers(text: str | None) -> list[int]:
    if not text:
        return []
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise WorkError(f"{text!r} is not a list of whole numbers with commas between them") from None
    if min(numbers) < 1:
        raise WorkError("numbers start at 1")
    return numbers


def _list(cores: Sequence[int]) -> str:
    return ",".join(map(str, cores))


if __name__ == "__main__":
    # A polite kill is a Ctrl-C, too; and Ctrl-C counts also where it was ignored, as for a script's background jobs.
    for _number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(_number, signal.default_int_handler)
    sys.exit(main())
