"""What tests are made of: real programs, a device that can lie, certificates that are wrong in one way.

Each module stands alone and says in its first lines what it gives. Imported as `support.<module>`: `tests` is on pytest's and
mypy's path.
"""
