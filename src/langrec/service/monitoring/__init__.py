"""What a server says of itself: counts, times and traces, of all its workers together."""
