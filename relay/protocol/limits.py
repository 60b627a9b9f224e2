"""The numbers of the wire, each with its reason. They are part of the protocol: both ends rely on them."""

VERSION_MIN = 1
VERSION_MAX = 1

HEADER_BYTES = 4

# Before login a frame carries one SCRAM message and two names. PostgreSQL allows 65,535 bytes there and calls
# even that generous; 4 KiB leaves room for a ticket and keeps 10,000 strangers under 40 MiB.
FRAME_MAX_BEFORE_LOGIN = 4 * 1024

# NATS (max_payload) and Centrifugo (proxied publications) default to 1 MiB; larger things are streams.
FRAME_MAX = 1024 * 1024

# What a packet adds around its payload at most: array header, type, two addresses, id, method, content type.
# A payload of up to FRAME_MAX - OVERHEAD_MAX always fits into one frame, also inside a DELIVERY.
OVERHEAD_MAX = 1024
BODY_MAX = FRAME_MAX - OVERHEAD_MAX

# A whole MESSAGE payload, fields behind the known ones included: what is stored must fit into a DELIVERY, whose own
# fields take 156 bytes at most (two names of 64 bytes, two integers, three headers).
MESSAGE_MAX = FRAME_MAX - 256

# How deep the structure in a body may be nested. Python's own stack ends near 1,000, and so would a program that
# prints what it was sent; nobody writes 64 levels by hand.
BODY_DEPTH_MAX = 64

# Highest number of fields the relay reads in one packet. Version 1 uses at most 9; the rest is room to grow.
# Fifteen is what a one-byte msgpack array header can say.
FIELDS_MAX = 15

# Integers on the wire stay exact in every language, JavaScript's doubles included.
INTEGER_MAX = 2**53 - 1

NAME_MAX_BYTES = 64
METHOD_MAX_BYTES = 64
CONTENT_TYPE_MAX_BYTES = 128  # the media types of office documents have 71
SENTENCE_MAX_BYTES = 256
AGENT_MAX_BYTES = 64

# A call is answered within its timeout, at most this long; what takes longer is a stream or a message.
CALL_TIMEOUT_MAX_MS = 600_000

# How many of a device's latest message ids the relay remembers, and so how many messages a device may have
# unacknowledged at once: a repetition within this window is recognised for certain.
MESSAGE_WINDOW = 256

# A stream is accepted within its timeout, at most this long: a person may have to say yes.
OPEN_TIMEOUT_MAX_MS = 60_000

# What one DATA carries at most, and one CREDIT grants. A packet of 64 KiB is cheap per byte (see docs/benchmarks.md)
# and delays what stands behind it by less than a millisecond on a link of 1 Gbit/s.
CHUNK_MAX_BYTES = 64 * 1024
CREDIT_MAX_BYTES = CHUNK_MAX_BYTES

# Files. A chunk is what is hashed, stored and acknowledged as one: large enough that its record costs nothing beside
# it, small enough to be sent again after every cut.
FILE_CHUNK_BYTES = 1024 * 1024
FILE_NAME_MAX_BYTES = 255  # what file systems allow for one component of a path
UPLOAD_MAX_BYTES = 64
