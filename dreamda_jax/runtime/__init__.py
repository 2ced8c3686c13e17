"""What any long job has: devices, hosts, stopping, checkpoints, the training loop, sweeps."""
