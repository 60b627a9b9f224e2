"""One connected device: its login, its established session, its outbox."""
