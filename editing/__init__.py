"""From a picture into the latent space, and back: projection, tuning, mixing, directions."""
