"""From a picture into the latent space, and back: projection, tuning."""
