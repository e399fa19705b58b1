"""What the server says of itself: relations, functions, the session's identity. Not: wire, sessions."""
