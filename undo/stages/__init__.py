"""The stages of an undo, one file each, in the order that undo.engine reads."""
