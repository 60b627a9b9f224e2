"""The benchmark of WebSockets beside native connections, for an instant."""

import shutil

import pytest

from loadtest import websocket_bench
from loadtest.websocket_bench import (
    GATHERED,
    NATIVE,
    NATIVE_TLS,
    SINGLE,
    WEB_TLS,
    WORKS,
    idle_kb,
    make_certificate,
    rows,
)


def test_every_work_costs_something_for_every_kind(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(websocket_bench, "_WARM_UP_S", 0.01)
    found = list(rows(1, 0.02))
    assert [(name, kind) for name, kind, _ in found] == [(name, kind) for name in WORKS for kind in WORKS[name][2]]
    assert all(cost > 0 for _, _, cost in found)
    assert {kind for _, kind, _ in found} == {NATIVE, GATHERED, SINGLE}


@pytest.mark.skipif(shutil.which("openssl") is None, reason="the command openssl is not installed")
def test_tls_is_measured_beside_them(monkeypatch, tmp_path) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(websocket_bench, "_WARM_UP_S", 0.01)
    make_certificate(tmp_path)
    found = [(kind, cost) for _, kind, cost in rows(1, 0.02, tmp_path)]
    assert {NATIVE_TLS, WEB_TLS} <= {kind for kind, _ in found}
    assert all(cost > 0 for _, cost in found)


def test_memory_is_weighed() -> None:
    assert idle_kb(GATHERED, 120) < 1000
