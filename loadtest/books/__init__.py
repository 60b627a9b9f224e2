"""What a load test writes down while it runs, and how the books are closed. Pure: no sockets, no clock, no locust.

`stamp` is what a body carries, `ledger` what one user sent and received, `tally` counts everything by name,
`histogram` collects times, `settle` compares what all users sent with what all users received.
"""
