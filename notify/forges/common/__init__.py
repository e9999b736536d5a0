"""What GitHub and Gitea have in common: JSON, diffs, events, reviewers, files."""
