"""The process that fetches, verifies and indexes one revocation list and ends: `python -m watchword_server.revocation_reader`.

A line of JSON on stdin says what to read, a line on stdout what came of it (`answering.py`); the list and its index go to files
in the spool. Exit status 0 whenever there is an answer, an error among them.
"""
