"""Listening tests: a page for many raters, made from an experiment, and what their answers say."""
