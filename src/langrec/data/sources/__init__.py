"""One file per format of events and items."""
