"""api/proxy — requests passed on to the http ports of running jobs. The rules are `core/proxy_*`; connections are `interfaces.JobPorts`'."""
