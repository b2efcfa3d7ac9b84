"""chutes/_runtime/cords — a chute's cords, called by the host in one process that goes on. No function job imports anything of it."""
