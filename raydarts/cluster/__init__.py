"""Ray as a place to work: its start and end on this machine, a cluster, its resources, who may connect, jobs."""
