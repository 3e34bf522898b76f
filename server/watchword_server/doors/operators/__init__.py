"""The operators' door: the API under `/api/v1`, `/metrics`, liveness and readiness. One module a subject; `app.py` joins them."""
