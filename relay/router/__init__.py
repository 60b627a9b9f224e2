"""Who gets what: live sessions by name, conversations and their readers, calls and their answers. Knows no sockets."""
