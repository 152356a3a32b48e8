"""Pictures of the documentation, one function each; `tools/pictures.py` makes them."""
