"""Who may do what, and how often: keys, roles, scopes and rates."""
