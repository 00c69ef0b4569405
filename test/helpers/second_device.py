"""A second device without a card: tensors are told apart, and refuse to be mixed as CUDA's do.

All of them lie in ordinary memory. Inside `SecondDevice()` what is made on, or sent to, the device
`OTHER` is remembered to be there, and so is what comes of it; an operation between the two
devices raises, with the exceptions that torch makes for CUDA.
"""

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.weak import WeakTensorKeyDictionary

OTHER, CPU = torch.device("meta"), torch.device("cpu")  # a name that torch knows, no more
_MAY_CROSS = {"copy_", "to", "type_as", "_has_compatible_shallow_copy_type"}
_NEED_CPU = {"numpy", "__array__"}


class MixedDevicesError(RuntimeError):
    """What torch raises where tensors of two devices meet."""


class SecondDevice(TorchFunctionMode):
    """See the module."""

    def __init__(self):
        super().__init__()
        self._there = WeakTensorKeyDictionary()

    def is_there(self, tensor):
        return tensor in self._there

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs, name = dict(kwargs or {}), getattr(func, "__name__", str(func))
        if func == torch.Tensor.device.__get__:
            return OTHER if self.is_there(args[0]) else CPU
        if name in _NEED_CPU and self.is_there(args[0]):
            raise MixedDevicesError(f"can't convert a tensor of {OTHER} to numpy")
        wanted = self._wanted(name, args, kwargs)
        if name not in _MAY_CROSS and func != torch.Tensor.data.__set__:
            self._check(name, args, kwargs)
        there = self._result_is_there(name, args, kwargs) if wanted is None else wanted == OTHER
        if wanted is not None:
            args, kwargs = tree_map(_on_cpu, (args, kwargs))
        made = func(*args, **kwargs)
        if func == torch.Tensor.data.__set__:
            self._mark(args[0], self.is_there(args[1]))
        if name == "to" and there and made is args[0] and not self.is_there(args[0]):
            made = args[0].clone()  # torch hands back the same tensor: it is on the CPU already
        if name == "cpu":
            made = args[0].clone() if self.is_there(args[0]) else made
        in_place = name.endswith("_") and not name.endswith("__")
        for tensor in [] if in_place else tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                self._mark(tensor, there)
        return made

    def _mark(self, tensor, there):
        if there:
            self._there[tensor] = True
        else:
            self._there.pop(tensor, None)

    def _wanted(self, name, args, kwargs):
        """The device that is asked for; None for that of the arguments."""
        if name == "cpu":
            return CPU
        if name in ("to", "type_as") and isinstance(args[1], torch.Tensor):
            return OTHER if self.is_there(args[1]) else CPU
        if name == "from_numpy":
            return CPU
        for one in (kwargs.get("device"), *(args[1:2] if name == "to" else ())):
            if isinstance(one, str | torch.device):
                return torch.device(one)
        return None

    def _result_is_there(self, name, args, kwargs):
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        if name in ("copy_", "__getitem__") or name.startswith("new_"):
            tensors = tensors[:1]
        return any(self.is_there(t) for t in tensors)

    def _check(self, name, args, kwargs):
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        if name in ("__getitem__", "__setitem__"):  # indices of the CPU are taken along
            value = args[2] if name == "__setitem__" else None
            index = [t for t in tree_leaves(args[1]) if isinstance(t, torch.Tensor)]
            tensors = [args[0], *(t for t in index if self.is_there(t))]
            if index and isinstance(value, torch.Tensor):  # else it is a copy
                tensors.append(value)
        there = {self.is_there(t) for t in tensors
                 if t.dim() or self.is_there(t)}  # numbers of the CPU go anywhere
        if len(there) > 1:
            raise MixedDevicesError(f"{name}: tensors of {OTHER} and {CPU}")


def _on_cpu(one):
    return CPU if one == OTHER and isinstance(one, torch.device) else CPU.type if (
        isinstance(one, str) and one == OTHER.type) else one
