"""docs/web-chat.md lists the keys that the page lists."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_shortcut_is_explained() -> None:
    dialogs = (ROOT / "clients/web/chat/views/Dialogs.tsx").read_text()
    table = (ROOT / "docs/web-chat.md").read_text().split("## Keys")[1].split("## ")[0]
    shortcuts = re.findall(r'\["key\w+", \[([^\]]*)\]\]', dialogs)
    assert len(shortcuts) > 10
    for keys in shortcuts:
        words = [word.strip().strip('"') for word in keys.split(",")]
        assert " ".join("Ctrl" if word == "mod" else word for word in words) in table
