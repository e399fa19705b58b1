"""How a write is recorded: by rewriting it, by a trigger that is there, or by saying that it was not.

Not: wire, sessions. Everything here is a pure function of a statement and of what is known.
"""
