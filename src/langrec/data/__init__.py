"""Reading, cleaning, checking and splitting of events and items."""
