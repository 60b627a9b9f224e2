"""The relay as a keeper of files: uploads and downloads over streams to `relay`, and what becomes of contents."""
