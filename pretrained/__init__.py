"""Trained networks, one .safetensors file each, with a card; `dnnlib.pretrained` finds them."""
