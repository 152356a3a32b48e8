"""The playground: a local page on which networks run in the browser, served by `pdoconv play`."""
