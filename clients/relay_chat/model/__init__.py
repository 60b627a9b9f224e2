"""Conversations, messages and commands, as values and rules: no terminal here, and no Textual."""
