#!/usr/bin/env python3
"""Tensors go to PyTorch and come back by DLPack, sharing memory, in both forms of the protocol.

    exchange.py BRIDGE     BRIDGE: the library built from bridge.cpp; exits with 77 without PyTorch
"""
import gc
import sys

try:
    import ctypes  # which a minimal Python lacks as well
    import torch
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

bridge = ctypes.CDLL(sys.argv[1])
pointer, text = ctypes.c_void_p, ctypes.c_char_p
for name, result, arguments in (("live_bytes", ctypes.c_int64, ()), ("last_failure", text, ()),
                                ("exported", pointer, (text, ctypes.c_int64, ctypes.c_int64, text, ctypes.c_bool)),
                                ("imported", pointer, (pointer, ctypes.c_bool)), ("release", None, (pointer,)),
                                ("data", pointer, (pointer,)), ("described", text, (pointer,)),
                                ("elements", None, (pointer, ctypes.POINTER(ctypes.c_double)))):
    function = getattr(bridge, name)
    function.restype, function.argtypes = result, arguments

python = ctypes.pythonapi
python.PyCapsule_New.restype = ctypes.py_object
python.PyCapsule_New.argtypes = (pointer, text, pointer)
python.PyCapsule_GetPointer.restype = pointer
python.PyCapsule_GetPointer.argtypes = (ctypes.py_object, text)
python.PyCapsule_SetName.argtypes = (ctypes.py_object, text)

# Capsules keep a pointer to their name.
NAMES = {False: ctypes.create_string_buffer(b"dltensor"), True: ctypes.create_string_buffer(b"dltensor_versioned")}
USED = {False: ctypes.create_string_buffer(b"used_dltensor"),
        True: ctypes.create_string_buffer(b"used_dltensor_versioned")}
DELETER = ctypes.CFUNCTYPE(None, pointer)
DELETER_OFFSET = {False: 56, True: 16}
DTYPES = {"f32": torch.float32, "f64": torch.float64, "f16": torch.float16, "bf16": torch.bfloat16,
          "i64": torch.int64, "i32": torch.int32, "i8": torch.int8, "u8": torch.uint8, "bool": torch.bool}


def ours_to_torch(dtype, rows, cols, layout, versioned):
    managed = bridge.exported(dtype.encode(), rows, cols, layout.encode(), versioned)
    assert managed, bridge.last_failure()
    return torch.utils.dlpack.from_dlpack(python.PyCapsule_New(managed, NAMES[versioned], None))


def counted(dtype, rows, cols, layout):
    t = torch.arange(rows * cols) % (2 if dtype == "bool" else 100)
    t = t.to(DTYPES[dtype]).reshape(rows, cols)
    return {"plain": lambda: t, "transposed": lambda: t.T, "strided": lambda: t[:, 1::2],
            "repeated": lambda: t[:1].expand(rows, cols)}[layout]()


class Lent:
    """PyTorch's structure for a tensor, handed to us, with a count of the calls of its deleter."""

    def __init__(self, t, versioned):
        capsule = t.__dlpack__(max_version=(1, 1)) if versioned else t.__dlpack__()
        managed = python.PyCapsule_GetPointer(capsule, NAMES[versioned])
        python.PyCapsule_SetName(capsule, USED[versioned])
        slot = pointer.from_address(managed + DELETER_OFFSET[versioned])
        self.deleter, self.calls = DELETER(slot.value), 0
        self.counting = DELETER(self.count)
        slot.value = ctypes.cast(self.counting, pointer).value
        self.ours = bridge.imported(managed, versioned)

    def count(self, managed):
        self.calls += 1
        self.deleter(managed)

    def elements(self, count):
        out = (ctypes.c_double * max(count, 1))()
        bridge.elements(self.ours, out)
        return out[:count]


def check_export(dtype, rows, cols, layout, versioned):
    before = bridge.live_bytes()
    t = ours_to_torch(dtype, rows, cols, layout, versioned)
    wanted = counted(dtype, rows, cols, layout)
    assert t.dtype == wanted.dtype and t.shape == wanted.shape, (t.dtype, t.shape)
    assert torch.equal(t, wanted), (t, wanted)
    if rows * cols > 0:
        assert t.stride() == wanted.stride() or 1 in t.shape, (t.stride(), wanted.stride())
        assert bridge.live_bytes() > before
    view = t[:1]
    del t
    gc.collect()
    assert rows * cols == 0 or bridge.live_bytes() > before, "freed under a view"
    del view
    gc.collect()
    assert bridge.live_bytes() == before, "not freed with its last reference"


def check_import(dtype, rows, cols, layout, versioned):
    t = counted(dtype, rows, cols, layout)
    wanted = t.to(torch.float64).flatten().tolist()
    shape, address = list(t.shape), t.data_ptr()
    lent = Lent(t, versioned)
    assert lent.ours, bridge.last_failure()
    del t
    gc.collect()
    assert bridge.described(lent.ours).decode() == f"{dtype} {shape}", bridge.described(lent.ours)
    assert lent.elements(len(wanted)) == wanted, lent.elements(len(wanted))
    if wanted:
        assert bridge.data(lent.ours) == address, "copied"
        assert lent.calls == 0, "given back while in use"
    bridge.release(lent.ours)
    assert lent.calls == 1, lent.calls


def check_that_memory_is_shared():
    t = torch.zeros(2, 3)
    lent = Lent(t, True)
    t[1, 2] = 7
    assert lent.elements(6) == [0, 0, 0, 0, 0, 7], lent.elements(6)
    bridge.release(lent.ours)


def check_refusals():
    for t, part in ((torch.zeros(2, dtype=torch.complex64), "complex64"), (torch.zeros(2, dtype=torch.int16), "int16"),
                    (torch.zeros((1,) * 7), "rank 7"), (torch.zeros(2, dtype=torch.uint32), "uint32")):
        for versioned in (False, True):
            lent = Lent(t, versioned)
            assert not lent.ours and part in bridge.last_failure().decode(), bridge.last_failure()
            assert lent.calls == 1, "a refused structure is given back, once"


def main():
    for dtype in DTYPES:
        for rows, cols in ((3, 4), (1, 6), (0, 4), (2, 0)):
            for layout in ("plain", "transposed", "strided", "repeated"):
                if rows == 0 and layout == "repeated" or cols == 0 and layout == "strided":
                    continue
                for versioned in (False, True):
                    case = (dtype, rows, cols, layout, versioned)
                    for check in (check_export, check_import):
                        try:
                            check(*case)
                        except Exception as error:
                            raise AssertionError(f"{check.__name__}{case}") from error
    check_that_memory_is_shared()
    check_refusals()
    print(f"PyTorch {torch.__version__}: exchanged")


if __name__ == "__main__":
    main()
