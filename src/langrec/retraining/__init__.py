"""Fresh models while serving: a training on the store's events in a process of its own, judged before it is served."""
