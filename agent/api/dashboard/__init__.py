"""api/dashboard — what the owner of the host opens in a browser: static files, and signing in. All else it has from the same API as anybody."""
