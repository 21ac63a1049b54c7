"""Labels are dear: which text to label next, what was labelled read back, labels that look wrong, labels for free."""
