"""The pages that links in emails lead to."""
