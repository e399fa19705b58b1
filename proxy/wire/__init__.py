"""Bytes of the frontend/backend protocol, version 3: what messages look like, not what they mean.

Source: PostgreSQL documentation, chapter "Frontend/Backend Protocol" (message formats).
"""
