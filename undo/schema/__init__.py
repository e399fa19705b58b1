"""DDL taken back. A *component* is what a schema is made of (a relation, a column, a constraint, a
function); its *image* says all that it takes to make it again (0012_components.sql). A *command* is
one DDL statement: the images of the components that it changed, before and after.

`kinds.py` is the table: how a component of each kind is made, dropped, named and altered. Only
`there.py`, `keep.py` and `reverse.py` ask the server.
"""
