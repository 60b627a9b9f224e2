"""What is kept: accounts, conversation logs, devices and their cursors."""
