"""chutes/chute/template — refuses: ready-made model servers are the published SDK's. Offers nothing."""

raise ImportError(
    "chutes.chute.template belongs to the published chutes SDK: its ready-made model servers are not offered here. "
    "Write a job that starts the server, with @chute.job(ports=[…]), and deploy it with an image that has the server in it."
)
