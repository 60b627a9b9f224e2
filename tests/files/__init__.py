"""Tests of the file service."""
