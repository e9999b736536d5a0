"""Source control: what queues need of git, through its command line."""
