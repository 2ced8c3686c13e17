"""What a job will take on hardware that is not here: compiled for it, measured on paper."""
