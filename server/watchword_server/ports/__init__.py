"""What the services need from the outside, in the core's words. Adapters implement these; tests fake them.

Every store method raises `StoreUnavailableError` when the store does not answer or take it: then nothing was changed.
Whatever a method returned for is durable.
"""
