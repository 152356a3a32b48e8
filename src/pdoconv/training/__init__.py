"""Training on Lightning: modules, data modules, run folders."""
