"""The torture proof: what was acknowledged is never lost, and everybody gets it once and in order, whoever is killed.

`python -m loadtest.torture --help` tells how to run it; docs/guarantees.md what it proved so far.

`plan` says who takes part and with which habits, `process` runs the real relay and kills it. A `client` comes and goes
over a `link` that can be cut at any byte; a `device` is a client that sends and receives, a `guest` one that also
leaves rooms and comes back. Everything they are told goes into the `books`, which judge each entry as it comes;
`verdict` closes them against the log on the disk. `stage` brings everybody together; `sdk` lets programs on the SDK
live through the same.
"""
