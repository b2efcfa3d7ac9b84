"""api/handlers — one file a subject. Each gives its endpoints; none knows another."""
