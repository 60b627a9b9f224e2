"""Everything that is counted, by name; which of it counts as a failure, and what that means in a sentence."""

from collections import Counter

Tally = Counter[str]

# Never allowed, whatever the scenario does to the relay.
WRONGS = {
    "messages_lost": "acknowledged messages never reached their receiver",
    "messages_duplicated": "messages were delivered twice",
    "messages_reordered": "messages overtook an earlier one of the same sender",
    "messages_skipped": "offsets of a conversation were left out without a GAP",
    "messages_corrupted": "messages arrived with another content than was sent",
    "messages_unsent": "messages arrived that nobody had sent",
    "signals_duplicated": "signals were delivered twice",
    "signals_reordered": "signals overtook an earlier one of the same sender",
    "signals_corrupted": "signals arrived with another content than was sent",
    "calls_corrupted": "calls were answered with another content than was asked",
    "calls_duplicated": "answers came to calls that had one already",
    "packets_unexpected": "packets came that the relay had no reason to send",
    "logins_failed": "users were turned away for good",
    "users_missing": "users were not connected when it ended",
}

# Failures that a scenario may allow, because it provokes them.
FAULTS = {
    "messages_refused": "messages were refused",
    "messages_put_off": "messages were refused for the moment, and had to be sent again",
    "messages_unanswered": "messages got no answer until the end",
    "signals_lost": "signals did not arrive, and their receiver was not told so",
    "calls_failed": "calls were answered with a fault",
    "calls_unanswered": "calls got no answer until the end",
    "calls_cut": "calls lost their connection before they were answered",
    "answers_refused": "answers found no call waiting for them",
    "connections_lost": "connections broke",
    "logins_repeated": "logins had to be tried again",
}

FAILURES = WRONGS | FAULTS

# What went well, and what a scenario left out on purpose.
ACTIVITY = {
    "logins": "logins",
    "tickets_shown": "logins tried with the ticket of the one before",
    "tickets_refused": "tickets that were refused, so that the password was needed",
    "messages_sent": "messages sent",
    "messages_stored": "messages acknowledged",
    "messages_expected": "messages to be received: each by its receiver, or by all others in the room",
    "messages_received": "messages received",
    "messages_redelivered": "messages offered again after a reconnect, and recognised",
    "signals_sent": "signals sent",
    "signals_expected": "signals to be received, likewise",
    "signals_received": "signals received",
    "signals_dropped": "signals that the relay dropped, and told their slow receivers so",
    "calls_made": "calls made",
    "calls_answered": "calls answered",
    "calls_served": "calls served",
    "doings_skipped": "doings left out because the user was away",
}


def failures(tally: Tally, allowed: frozenset[str]) -> list[str]:
    """A sentence for every count that is not zero and should be."""
    names = [name for name in FAILURES if tally[name] and (name in WRONGS or name not in allowed)]
    return [f"{tally[name]:,} {FAILURES[name]}" for name in names]
