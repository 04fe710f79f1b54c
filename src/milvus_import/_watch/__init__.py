"""Following jobs: when they are polled, which errors are retried, and when a wait ends."""
