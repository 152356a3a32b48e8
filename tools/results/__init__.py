"""Pages of results, a module a page, made of the files in `results/` at the root of the repository."""
