"""Looks at this device as the agent and the server would, and tells the person at it what is in the way and what to do.

Works whether or not the agent runs and the server answers; sends no evidence, and changes nothing.
"""
