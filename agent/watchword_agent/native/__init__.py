"""What runs in a helper process: the standard library and `watchword.possession`, nothing else."""
