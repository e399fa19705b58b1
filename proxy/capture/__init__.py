"""How a write is recorded: by rewriting, by a trigger that is there, or by saying that it is not.

Not: wire, sessions. Everything here is a pure function of a statement and of what is known.
"""
