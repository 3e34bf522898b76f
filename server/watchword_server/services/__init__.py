"""What the server does: enroll, verify, decide, change rules. Ports in, core in the middle; no socket, no SQL."""
