"""The benchmark: one load generator for this relay and for the brokers it is compared with.

`python -m loadtest.bench --help` tells how to run it; docs/benchmarks.md what the figures say and what they do not.

`works` says what is measured, `dialects` how each server is started and spoken to, `server` runs it as a process and
reads its CPU and memory, `generator` runs `loops` over `links` in processes of its own, `runner` puts one measurement
together, `report` and `plots` show the result.
"""
