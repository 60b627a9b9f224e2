"""What is drawn: widgets on Textual, and the layout of messages."""
