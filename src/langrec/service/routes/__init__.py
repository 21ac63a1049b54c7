"""The routes: what comes in, what goes out, and the description of both."""
