"""Taking back what was recorded.

Glossary; each word is used for one thing only.

change       one row of hotrollback.change: one row of a table that one statement wrote
selection    which changes an operator wants taken back
chain        the changes of one row, in the order in which they happened
effect       what the selected changes of one chain did together: first before, last after
conflict     why an effect cannot be taken back without harm to somebody else's work
gap          a write that was not recorded, or not exactly
report       what an undo did, would do, or why it did nothing

The path of an undo: select -> load -> fold -> lock -> check -> policy -> order -> apply -> record.
"""
