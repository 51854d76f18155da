"""Actions: what a person or a program can do, each declared once for the API, the pages and the command line.

`action.py` has the declaration, `orders.py` the typed input, and the other modules the core's actions by subject.
Declarations need neither FastAPI nor pydantic: the command line reads them, and starts in a tenth of a second.
"""
