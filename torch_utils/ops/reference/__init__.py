"""The definition of every op, in plain PyTorch: any device, any dtype, gradients of any order."""
