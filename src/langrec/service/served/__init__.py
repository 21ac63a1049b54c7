"""What is served: a release with the store's changes laid over it, kept in step with both."""
