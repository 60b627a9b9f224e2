"""The browser's half: its SDK run by Node, against the documents and against the real relay."""
