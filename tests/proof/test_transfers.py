"""The proof about transfers, in short, and that it would notice."""

import argparse
from pathlib import Path
from random import Random

import pytest

from tests.proof.crossing import Crossing, Deed, file_sha256
from tests.proof.transfers import Sizes, make_file, make_sparse_file, parse_size, prove, random_size


def test_a_few_transfers_arrive_whatever_happens_on_their_way(tmp_path: Path) -> None:
    verdict = prove(tmp_path, transfers=2, sizes=Sizes(1, 2**23), seed=5, lanes=1)
    assert verdict["problems"] == 0, verdict
    assert verdict["transfers"] == 2 and verdict["direct"] == 1 and verdict["blows"] >= 4


def test_what_is_wrong_is_noticed(tmp_path: Path) -> None:
    source = tmp_path / "a.bin"
    make_file(source, 3_000_000, Random(1))
    crossing = Crossing(tmp_path, Random(1))
    try:
        outcome = crossing.transfer(source, "another content", True, [Deed.CUT])
    finally:
        crossing.close()
    assert outcome.problems == ["the content is another one"] and outcome.size == 3_000_000


def test_a_sparse_file_stays_sparse(tmp_path: Path) -> None:
    source = tmp_path / "a.bin"
    make_sparse_file(source, 100 * 2**20, Random(1))
    crossing = Crossing(tmp_path, Random(1))
    try:
        outcome = crossing.transfer(source, file_sha256(source), True, [])
    finally:
        crossing.close()
    assert outcome.problems == [] and outcome.allocated < 30 * 2**20
    assert set(outcome.memory) == {"alice", "bob", "relay"} and max(outcome.memory.values()) < 300 * 2**20


def test_sizes_are_spread_over_the_orders_of_magnitude() -> None:
    random = Random(1)
    sizes = [random_size(random, Sizes(1, 2**30)) for _ in range(3000)]
    assert min(sizes) >= 1 and max(sizes) <= 2**30
    for power in range(0, 30, 10):
        assert 800 < sum(2**power <= size < 2 ** (power + 10) for size in sizes) < 1200
    assert parse_size("64M") == 64 * 2**20 and parse_size("17") == 17
    with pytest.raises(argparse.ArgumentTypeError):
        parse_size("64X")
