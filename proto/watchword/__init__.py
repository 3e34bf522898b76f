"""The contract between agent and server: the wire messages, the bytes that are signed, the proof of possession."""
