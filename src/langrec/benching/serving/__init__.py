"""The server under load: a world to serve, a generator of requests in a process of its own, and what is measured."""
