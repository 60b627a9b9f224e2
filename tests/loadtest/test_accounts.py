"""Accounts of a load test: all there, and all with the known password."""

from pathlib import Path

from loadtest.accounts import add_accounts, add_rooms
from loadtest.crowd.login import KnownPasswordLogin
from relay.protocol.scram import ServerLogin
from relay.store.sqlite import SqliteStore


def test_every_account_logs_in_with_the_password(tmp_path: Path) -> None:
    names = [f"load{index}" for index in range(200)]
    add_accounts(tmp_path / "data", names, "load test")
    store = SqliteStore(tmp_path / "data")
    accounts = {account.name: account for account in store.accounts()}
    store.close()
    assert sorted(accounts) == sorted(names)
    for name in ("load0", "load199"):
        ours, theirs = KnownPasswordLogin(name), ServerLogin(name, accounts[name].credentials)
        ours.check(theirs.final(ours.final(theirs.first(ours.first()))))


def test_all_share_one_key_derivation(tmp_path: Path) -> None:
    add_accounts(tmp_path, ["load0", "load1"], "load test")
    store = SqliteStore(tmp_path)
    assert len({account.credentials for account in store.accounts()}) == 1
    store.close()


def test_rooms_have_their_members(tmp_path: Path) -> None:
    add_accounts(tmp_path, ["load0", "load1", "load2"], "load test")
    add_rooms(tmp_path, {"#load0": ["load0", "load1"], "#load1": ["load2"]})
    store = SqliteStore(tmp_path)
    assert {member.user for member in store.members("#load0", "", 10)} == {"load0", "load1"}
    assert store.owners("#load1") == ["load2"]
    store.close()
