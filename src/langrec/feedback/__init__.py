"""What the log says of shown lists: what became of them, how fresh they are, and how far the data drifted."""
