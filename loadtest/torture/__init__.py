"""The torture proof: what was acknowledged is never lost, and everybody gets it once and in order, whoever is killed.

`python -m loadtest.torture --help` tells how to run it; docs/guarantees.md what it proved so far.

`plan` says who takes part and with which habits, `process` runs the real relay and kills it, `device` is a client that
writes down what it is told, over a `link` that can be cut at any byte. `books` hold all these ledgers and judge each
entry as it comes, `verdict` closes them against the log on the disk. `stage` brings everybody together; `sdk` lets
programs on the SDK live through the same.
"""
