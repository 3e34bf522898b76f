"""How the schema came to be: one file a step in `versions/`, each applied whole or not at all.

A new step is a new file `vNNNN_what.py` with `revision` and `down_revision`; it writes its tables out and never imports
`schema.py`, which goes on changing.
"""
