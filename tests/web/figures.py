"""Measures the chat page in Chromium on a real relay: `python -m tests.web.figures`, a minute or two.

- *send to shown*: from the click on "Send" in one page until the message stands in the other page, and until the
  browser has drawn a frame with it; both by the clock of the machine, taken inside the pages.
- *interactive*: from the start of the navigation until the field to write in has the focus.
- *scrolling*: frames while a wheel turns through 100,000 messages, while their scrollbar is dragged, and while the
  view glides over a hundred windows.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import CDPSession, Page
from relay_client import Client

from tests.relay_client.town import Town
from tests.web.stage import Person, Stage, chromium, eventually

WORDS = "the berth plan of the harbour moves again because a ship came in before its time and we had no crane"

# In the page that sends: the click, by the clock of the machine.
CLICK = """(text) => {
  const field = document.querySelector('.composer textarea')
  const set = Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, 'value').set
  set.call(field, text)
  field.dispatchEvent(new InputEvent('input', { bubbles: true }))
  return new Promise((resolve) => setTimeout(() => {
    const at = performance.timeOrigin + performance.now()
    document.querySelector('.composer .send').click()
    resolve(at)
  }, 30))
}"""

# In the page that gets it: when the text is in the document, and when the frame with it was drawn.
AWAIT = """(text) => {
  window.shown = new Promise((resolve) => {
    const now = () => performance.timeOrigin + performance.now()
    const watch = new MutationObserver(() => {
      const rows = document.querySelectorAll('.messages .row:not(.mine) .text')
      if (rows.length === 0 || !rows[rows.length - 1].textContent.includes(text)) return
      watch.disconnect()
      const placed = now()
      requestAnimationFrame(() => {
        const channel = new MessageChannel()
        channel.port1.onmessage = () => resolve([placed, now()])
        channel.port2.postMessage(0)
      })
    })
    watch.observe(document.querySelector('.messages'), { childList: true, subtree: true })
  })
}"""

# Every frame while something goes on, by the animation frames, and what the browser itself calls long.
FRAMES = """() => {
  const found = { frames: [], long: [], running: true }
  window.found = found
  new PerformanceObserver((list) => {
    for (const it of list.getEntries()) {
      const scripts = (it.scripts || []).map((one) => `${one.invoker} ${Math.round(one.duration)}`)
      found.long.push([Math.round(it.duration), ...scripts])
    }
  }).observe({ type: 'long-animation-frame' })
  let before = 0
  const frame = (at) => {
    if (before) found.frames.push(at - before)
    before = at
    if (found.running) requestAnimationFrame(frame)
  }
  requestAnimationFrame(frame)
}"""


def fill(town: Town, sender: str, to: str, messages: int) -> None:
    """A conversation as people have it: mostly short, some long, some code."""
    words = WORDS.split()
    with Client(town.url(sender)) as client:
        last = None
        for number in range(1, messages + 1):
            length = 3 + number * 7 % 19 + (60 if number % 29 == 0 else 0)
            text = f"{number}: " + " ".join(words[(number + at) % len(words)] for at in range(length))
            if number % 41 == 0:
                text += "\n```python\nfor ship in ships:\n    print(ship)\n```"
            last = client.post(to, text)
        if last is not None:
            last.wait()


def send_to_shown(sender: Person, receiver: Person, rounds: int) -> tuple[list[float], list[float]]:
    """Milliseconds until the message was in the document, and until it was drawn."""
    placed, drawn = [], []
    for number in range(rounds):
        text = f"ping {number} {time.monotonic_ns()}"
        receiver.page.evaluate(AWAIT, text)
        clicked = sender.page.evaluate(CLICK, text)
        in_document, on_screen = receiver.page.evaluate("window.shown")
        placed.append(in_document - clicked)
        drawn.append(on_screen - clicked)
    return placed, drawn


def main_thread_s(devtools: CDPSession) -> float:
    """Processor time of the page's main thread: what other programs do on the machine does not count."""
    metrics = devtools.send("Performance.getMetrics")["metrics"]
    return float(next(it["value"] for it in metrics if it["name"] == "TaskDuration"))


@contextmanager
def frames(page: Page, name: str) -> Iterator[None]:
    """Prints the frames of the block."""
    devtools = page.context.new_cdp_session(page)
    devtools.send("Performance.enable", {"timeDomain": "threadTicks"})
    page.evaluate(FRAMES)
    page.wait_for_timeout(200)
    before = main_thread_s(devtools)
    yield
    busy_s = main_thread_s(devtools) - before
    found = page.evaluate("new Promise((done) => setTimeout(() => { found.running = false; done(found) }, 300))")
    lengths = sorted(found["frames"])
    over = [length for length in lengths if length > 50]
    middle, high = statistics.median(lengths), lengths[int(len(lengths) * 0.99)]
    print(
        f"{name}: {1000 * busy_s / len(lengths):.1f} ms CPU a frame; {len(lengths)} frames, median {middle:.1f} ms, "
        f"99% {high:.1f} ms, longest {lengths[-1]:.1f} ms, {len(over)} over 50 ms; "
        f"long animation frames: {found['long'] or 'none'}"
    )


def scroll(page: Page) -> None:
    box = page.locator(".messages").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    with frames(page, "wheel, 300 turns back"):
        for _ in range(300):
            page.mouse.wheel(0, -400)
            page.wait_for_timeout(8)
    with frames(page, "scrollbar, 200 places over all"):
        page.evaluate(
            """() => new Promise((done) => {
              const box = document.querySelector('.messages')
              let step = 0
              const next = () => {
                box.scrollTop = box.scrollHeight * (1 - ((step * 37) % 200) / 200)
                if (++step < 200) requestAnimationFrame(next)
                else done()
              }
              next()
            })"""
        )
    with frames(page, "smooth, 100 windows, half of them back"):
        page.evaluate(
            """() => new Promise((done) => {
              const box = document.querySelector('.messages')
              let step = 0
              const next = () => {
                box.scrollTop += (step < 500 ? -1 : 1) * box.clientHeight / 10
                if (++step < 1000) requestAnimationFrame(next)
                else done()
              }
              next()
            })"""
        )


def interactive(person: Person) -> float:
    """Milliseconds from the start of a reload until one can write."""
    person.page.reload()
    person.page.wait_for_selector(".composer textarea:focus")
    return float(person.page.evaluate("performance.now()"))


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure the chat page.")
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="relay-figures-") as home:
        town = Town(Path(home))
        town.add("alice", "bob", "carol")
        with town.open(), chromium() as browser:
            stage = Stage(town, browser)
            alice, bob = stage.person("alice").sign_in(), stage.person("bob").sign_in()
            alice.open("bob")
            alice.write("hello")
            bob.open("alice")
            placed, drawn = send_to_shown(alice, bob, options.rounds)
            for name, values in (("in the document", placed), ("drawn", drawn)):
                values.sort()
                print(
                    f"send to shown, {name}: median {statistics.median(values):.1f} ms, "
                    f"90% {values[int(len(values) * 0.9)]:.1f} ms, longest {values[-1]:.1f} ms"
                )
            times = sorted(interactive(alice) for _ in range(5))
            print(f"interactive after a reload: median {times[2]:.0f} ms, {', '.join(f'{it:.0f}' for it in times)}")
            started = time.monotonic()
            fill(town, "carol", "alice", options.messages)
            print(f"{options.messages} messages stored in {time.monotonic() - started:.0f} s")
            alice.page.reload()
            alice.open("carol")
            eventually(lambda: alice.page.locator(".row.skeleton").count() == 0, "messages on the screen")
            scroll(alice.page)
            stage.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
