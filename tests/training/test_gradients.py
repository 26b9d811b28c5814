"""The gradients of a network as one tensor."""

import weakref

import torch

from training import gradients


def test_gradients_become_views_of_one_tensor_and_missing_ones_stay_missing():
    net = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 2), torch.nn.PReLU())
    assert gradients.join(net) is None
    weight, bias, _, unused, slope = net.parameters()
    weight.grad = torch.arange(6.0).reshape(3, 2).t()  # not contiguous
    bias.grad, slope.grad = torch.tensor([6.0, 7.0]), torch.tensor([8.0])
    expected = [None if p.grad is None else p.grad.clone() for p in net.parameters()]
    flat = gradients.join(net)
    assert flat.tolist() == [0, 2, 4, 1, 3, 5, 6, 7, 8]
    gradients.replace(net, flat)
    for param, grad in zip(net.parameters(), expected, strict=True):
        assert (param.grad is None) == (grad is None)
        assert grad is None or torch.equal(param.grad, grad)
    assert unused.grad is None
    flat.zero_()
    assert not weight.grad.any() and not bias.grad.any() and not slope.grad.any()


def test_gradients_have_the_strides_of_their_parameters():
    """On CUDA, fused optimizers refuse others."""
    layouts = torch.channels_last, torch.contiguous_format
    kernels = [torch.randn(4, 3, size, size) for size in (3, 1)]
    params = [torch.nn.Parameter(k.to(memory_format=m)) for k in kernels for m in layouts]
    params.append(torch.nn.Parameter(torch.randn(2, 5).t()))
    params.append(torch.nn.Parameter(torch.randn(4, 3).as_strided([1, 4, 3], [7, 3, 1])))
    net = torch.nn.ParameterList(params)
    expected = [torch.randn_like(p).contiguous() for p in params]
    for param, grad in zip(params, expected, strict=True):
        param.grad = grad
    for _ in range(2):  # of gradients as autograd makes them, and of views
        gradients.replace(net, gradients.join(net))
        for param, grad in zip(params, expected, strict=True):
            assert param.grad.stride() == param.stride()
            assert torch.equal(param.grad, grad)


def test_memory_of_the_single_gradients_is_freed_once_they_are_joined():
    net = torch.nn.Linear(3, 2)
    net(torch.ones(1, 3)).sum().backward()
    single = [weakref.ref(param.grad) for param in net.parameters()]
    flat = gradients.join(net)
    assert flat.tolist() == [1] * 8
    assert [ref() for ref in single] == [None, None]
    assert net.weight.grad.data_ptr() == flat.data_ptr()


def test_gradients_are_finite_only_if_there_are_some_and_all_are():
    net = torch.nn.Linear(3, 2)
    assert not gradients.are_finite(net)
    net.bias.grad = torch.ones(2)
    assert gradients.are_finite(net)
    for value in (float("nan"), float("inf"), -float("inf")):
        net.weight.grad = torch.full([2, 3], value)
        assert not gradients.are_finite(net)
