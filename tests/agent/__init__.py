"""Tests of the agent, against a server's half that is played by `fake_server.py`."""
