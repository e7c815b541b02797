"""One run by several processes: how they are started, what each takes, how they agree."""
