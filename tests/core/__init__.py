"""The core's pure functions, where a running server is a poor instrument."""
