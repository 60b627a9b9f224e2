"""Browsers: the SDK in JavaScript, and the chat page in a real one."""
