"""api/metrics — what GET /metrics tells, from what is known already to the text of it. Measures nothing of its own."""
