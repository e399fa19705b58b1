"""What a statement is, read from its text alone.

token      one word, literal or sign, with its place in the text; comments and blanks are none
statement  one SQL statement: its kind, and where its parts are
span       a pair of byte offsets (start, end) into the text of the message
shape      a statement without its literals
meaning    what a second, independent reader (sqlglot) makes of the same text
edit       a piece of our text in place of a span; the client's text is spliced, never made anew

Texts are bytes in an encoding in which no ASCII byte is part of another character. They are never
decoded as a whole. Not: wire, sessions, the catalog.
"""
