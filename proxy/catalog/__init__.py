"""What the server says of itself: relations, functions, who a session is. Not: wire, sessions."""
