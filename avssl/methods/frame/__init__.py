"""Image pretext tasks, run on single frames: the encoder is a frame encoder, the sampler draws the frames."""
