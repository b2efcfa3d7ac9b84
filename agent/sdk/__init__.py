"""sdk — what lies in a job's container, for its author. A folder on the path there: nothing of the agent imports it, nor is imported by it."""
