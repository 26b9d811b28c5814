"""Runs a stand-in. Its text is executed in a process without the tests, too."""

import torch


def run(net, *inputs, device="cpu", scale=1.0):
    """Output, gradients of first order for the inputs, of second order for the parameters.

    The penalty whose gradients are those of second order is that of R1 for a discriminator, and of
    path lengths for a generator.
    """
    torch.manual_seed(0)
    net = net.to(device).requires_grad_(True)
    inputs = [x.to(device).requires_grad_(True) for x in inputs]
    y = net(*inputs)
    weights = torch.linspace(-scale, scale, y.numel(), device=device).reshape(y.shape)
    grads = torch.autograd.grad((y * weights).sum(), inputs, create_graph=True)
    results = {"y": y, **{f"d{i}": grad for i, grad in enumerate(grads)}}
    penalty = sum(grad.square().sum() for grad in grads)
    params = dict(net.named_parameters())
    if params:
        grads = torch.autograd.grad(penalty, [*params.values()], materialize_grads=True)
        results.update({f"dd {name}": grad for name, grad in zip(params, grads)})  # noqa: B905
    return {name: value.detach().cpu() for name, value in results.items()}
