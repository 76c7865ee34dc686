"""The operator: how the installation does, deployments, prices and rates, organisations, dead letters."""
