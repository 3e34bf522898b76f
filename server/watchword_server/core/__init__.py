"""Verdicts and decisions: values in, values or exceptions out. No clock, socket, log, environment, ORM or pydantic."""
