"""Files: sending, fetching and receiving them, of any size, in constant memory, resumable at both ends.

Decisions are generators (sending, fetching, receiving) that yield effects, which the shells carry out: blocking.files
and aio.files. What touches the disk (source, folder, memo) waits for it, and runs in a thread under asyncio.
"""
