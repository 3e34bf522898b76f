"""What a document may say: pydantic models, one module a section; `sections.py` is the way in."""
