"""Relay: a message relay. Importing it patches nothing and starts nothing."""

__version__ = "0.1.0"
