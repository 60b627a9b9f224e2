"""Remote commands: an agent that offers named commands to named users, and the other end, which has one run.

    with Client("relay://alice:secret@127.0.0.1") as me, Execution(me, "build", "make", ["test"]) as run:
        for record in run:
            print(record)

What is said on the stream is in `records`, what an agent offers in `config`. Importing this package starts nothing.
docs/agent.md is the specification, and how to set an agent up.
"""
