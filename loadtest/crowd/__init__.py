"""The users of a load test, on gevent: thousands in one process.

As in the relay, what is sequential is a greenlet (a user's life: log in, stay, come back) and what is hot is not
(packets arrive in loop callbacks, everything to be done is in one schedule per process). `crowd` is what they share,
`person` one user, `messages`, `signals` and `calls` the three things she does, `wire` her connection, `login` its
beginning, `schedule` the clock. Nothing here knows locust.
"""
