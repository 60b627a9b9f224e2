"""What every test rests on."""

import signal

# A shell that starts the tests in the background leaves SIGINT ignored, and every process they start would inherit
# that: no Ctrl-C of a test would arrive. A handler becomes the default in a child.
signal.signal(signal.SIGINT, signal.default_int_handler)
