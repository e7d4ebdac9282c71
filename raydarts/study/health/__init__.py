"""Health checks of a derived cell (family `health`): bars on the facts in a search's rows."""
