"""Randomised histories: never an allow on evidence older than the rule's bound, and absence denies.

A seed makes a history (`histories.events`): devices attest, say goodbye, stay silent and are revoked; clocks step; operators
change checks and policies, remove and re-add CAs, publish and withdraw revocation lists; the store fails; the server restarts.
The real core and services run through it (`histories.house`) over a store in memory, in an event loop in which nothing waits
(`histories.at_once`): messages that overtake one another are not what is tried here. Envelopes and proofs are really signed; a
signature that the real code verified once in this process is remembered with its key and message (`histories.remembered`).

After each step a few requests are decided. What may be allowed at most is said by `histories.oracle`, which knows what everybody
did, keeps no result and caches nothing. An allow that it does not know a reason for is a failure, such as one after a goodbye
without new evidence; it is told with its seed and the shortest history found that still leads to it (`histories.running`).

    make soak                                                             a million of them
    WATCHWORD_HISTORY_SEED=17 .venv/bin/pytest tests/histories            this one again
"""
