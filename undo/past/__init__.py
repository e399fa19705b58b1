"""Reading the past without changing it: a table as it was, the history of a row."""
