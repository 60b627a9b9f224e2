"""Files in the chat page: by button, paste and drop, with progress; pictures shown, everything else only saved."""

import base64
import struct
import zlib
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.web.stage import Stage

DROP = """([selector, name, type, data]) => {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0))
  const transfer = new DataTransfer()
  transfer.items.add(new File([bytes], name, { type }))
  const target = document.querySelector(selector)
  for (const kind of ['dragenter', 'dragover', 'drop']) {
    target.dispatchEvent(new DragEvent(kind, { bubbles: true, cancelable: true, dataTransfer: transfer }))
  }
}"""

PASTE = """([name, type, data]) => {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0))
  const transfer = new DataTransfer()
  transfer.items.add(new File([bytes], name, { type }))
  const event = new ClipboardEvent('paste', { bubbles: true, cancelable: true, clipboardData: transfer })
  document.querySelector('.composer textarea').dispatchEvent(event)
}"""


def png(width: int, height: int) -> bytes:
    """A picture whose colours run from one corner to the other."""
    rows = b"".join(
        b"\0" + b"".join(bytes((60 + 120 * x // width, 110 + 90 * y // height, 160)) for x in range(width))
        for y in range(height)
    )

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def saved(page: Page, name: str) -> bytes:
    with page.expect_download() as waiting:
        page.get_by_role("button", name=f"Download {name}").first.click()
    download = waiting.value
    assert download.suggested_filename == name
    return Path(download.path()).read_bytes()


def test_a_file_by_the_button_and_back(stage: Stage, tmp_path: Path) -> None:
    stage.town.add("fred", "gina")
    fred, gina = stage.person("fred").sign_in(), stage.person("gina").sign_in()
    fred.open("gina")
    content = bytes(range(256)) * 12_000
    (tmp_path / "report.pdf").write_bytes(content)
    (tmp_path / "page.html").write_text("<script>parent.broken = 1</script>")
    fred.page.locator("input[type=file]").set_input_files([tmp_path / "report.pdf", tmp_path / "page.html"])
    expect(fred.page.locator(".tray li")).to_have_count(2)
    fred.write("Both files")
    gina.open("fred")
    expect(gina.page.get_by_role("button", name="Download report.pdf")).to_be_visible()
    expect(gina.page.get_by_role("button", name="Download report.pdf")).to_contain_text("3.1 MB")
    assert saved(gina.page, "report.pdf") == content
    assert saved(gina.page, "page.html").startswith(b"<script>")
    assert gina.page.evaluate("window.broken") is None
    expect(fred.page.locator(".progress")).to_have_count(0)
    expect(fred.page.locator(".tray")).to_have_count(0)
    gina.page.get_by_role("button", name="Details", exact=True).click()
    shared = gina.page.get_by_role("complementary", name="Details").locator(".shared")
    expect(shared).to_have_count(2)
    expect(shared.filter(has_text="report.pdf")).to_contain_text("3.1 MB")


def test_a_pasted_picture_is_shown(stage: Stage) -> None:
    stage.town.add("hugo", "ines")
    hugo, ines = stage.person("hugo").sign_in(), stage.person("ines").sign_in()
    hugo.open("ines")
    picture = base64.b64encode(png(640, 360)).decode()
    hugo.page.evaluate(PASTE, ["sunset.png", "image/png", picture])
    expect(hugo.page.locator(".tray img")).to_be_visible()
    hugo.page.get_by_role("button", name="Send", exact=True).click()
    ines.open("hugo")
    image = ines.page.get_by_role("img", name="Image sunset.png")
    expect(image).to_be_visible()
    assert image.evaluate("(it) => [it.naturalWidth, it.naturalHeight, it.src.slice(0, 5)]") == [640, 360, "blob:"]
    ines.picture("picture")
    ines.page.get_by_role("button", name="Open sunset.png").click()
    expect(ines.page.get_by_role("dialog", name="Image sunset.png")).to_be_visible()
    assert saved(ines.page, "sunset.png") == png(640, 360)
    ines.page.keyboard.press("Escape")
    expect(ines.page.get_by_role("dialog")).to_have_count(0)
    expect(hugo.page.get_by_role("img", name="Image sunset.png")).to_be_visible()


def test_dropped_files_and_what_is_no_picture(stage: Stage) -> None:
    stage.town.add("jana", "karl")
    jana, karl = stage.person("jana").sign_in(), stage.person("karl").sign_in()
    jana.open("karl")
    svg = base64.b64encode(b'<svg xmlns="http://www.w3.org/2000/svg"><script>parent.broken=1</script></svg>').decode()
    false = base64.b64encode(b"this is no picture at all").decode()
    jana.page.evaluate(DROP, [".thread", "drawing.svg", "image/svg+xml", svg])
    jana.page.evaluate(DROP, [".thread", "false.png", "image/png", false])
    expect(jana.page.locator(".tray li")).to_have_count(2)
    jana.page.get_by_role("button", name="Remove drawing.svg").click()
    expect(jana.page.locator(".tray li")).to_have_count(1)
    jana.page.evaluate(DROP, [".thread", "drawing.svg", "image/svg+xml", svg])
    jana.page.get_by_role("button", name="Send", exact=True).click()
    karl.open("jana")
    expect(karl.page.get_by_role("button", name="Download drawing.svg")).to_be_visible()
    expect(karl.page.get_by_role("button", name="Download false.png")).to_be_visible()
    assert karl.page.evaluate("window.broken") is None
    assert karl.page.locator(".messages img").count() == 0
