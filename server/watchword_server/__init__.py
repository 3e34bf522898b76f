"""The Watchword server: verifies evidence, keeps results, decides requests."""
