"""chutes/_runtime — our process in the job's container: it runs one function and tells the host how it went. Authors import nothing of it."""
