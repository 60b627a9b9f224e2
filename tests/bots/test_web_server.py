"""The web server bot, as a process, through a tunnel and a real relay: with an HTTP client of the standard library."""

import http.client
from pathlib import Path

from tests.process import running
from tests.relay_client.town import Town

FILE = Path(__file__).parents[2] / "clients/bots/web_server.py"


def test_it_serves_a_directory_and_nothing_outside_of_it(tmp_path: Path) -> None:
    site = tmp_path / "site"
    (site / "sub").mkdir(parents=True)
    (site / "page.html").write_text("<p>hello")
    (site / "large").write_bytes(bytes(1_000_000))
    (tmp_path / "secret").write_text("secret")
    (site / "out").symlink_to(tmp_path / "secret")
    town = Town(tmp_path)
    town.add("alice")
    town.add("www", bot=True)
    env = {"RELAY_URL": town.url("www"), "WEB_ROOT": str(site)}
    with town.open():
        env["RELAY_URL"] = town.url("www")
        words = ("forward", "www/site", "0", "--url", town.url("alice"))
        with running("bot", str(FILE), home=tmp_path, env=env) as bot, running(*words, home=tmp_path) as forward:
            bot.await_line("is online")
            port = int(forward.line().split()[2].rpartition(":")[2])
            browser = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

            def get(path: str) -> tuple[int, bytes]:
                browser.request("GET", path)
                answer = browser.getresponse()
                return answer.status, answer.read()

            assert get("/page.html") == (200, b"<p>hello")
            assert get("/large") == (200, bytes(1_000_000))
            assert b"page.html" in get("/")[1]
            for path in ("/out", "/../secret", "/%2e%2e/secret", "/nothing"):
                assert get(path)[0] == 404, path
            browser.close()
            assert bot.stop() == 0
