"""HTTP to GitHub and Gitea: signatures, webhooks, reads, and what answers mean."""
