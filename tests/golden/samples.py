"""Tiny .npy, .npz and .safetensors files from their reference writers, for the readers' tests.

Element i (row-major) of an array of type T holds (i - 3) for signed and floating types, i for unsigned
ones and i odd for bool: readers' tests rebuild the expected values from that.
"""

import io
import json

import numpy as np
import scipy.io
import safetensors.torch
import torch

DTYPES = ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?")


def array(dtype, shape=(2, 3)):
    dtype = np.dtype(dtype)
    index = np.arange(np.prod(shape, dtype=int)).reshape(shape)
    if dtype.kind == "b":
        return index % 2 == 1
    return (index if dtype.kind == "u" else index - 3).astype(dtype)


def label(dtype):
    return np.dtype(dtype).name


def npy_files(folder):
    for dtype in DTYPES:
        np.save(folder / f"{label(dtype)}.npy", array(dtype))
    for dtype in ("f8", "f4", "f2", "i8", "i4"):
        np.save(folder / f"{label(dtype)}_big_endian.npy", array(dtype).astype(">" + dtype))
    np.save(folder / "float32_fortran.npy", np.asfortranarray(array("f4", (3, 4))))
    np.save(folder / "int32_fortran_big_endian.npy", np.asfortranarray(array("i4", (3, 4)).astype(">i4")))
    np.save(folder / "float64_scalar.npy", np.float64(-3))
    np.save(folder / "float32_empty.npy", array("f4", (0, 3)))
    np.save(folder / "float32_rank3.npy", array("f4", (2, 3, 4)))
    for version in ((2, 0), (3, 0)):
        with open(folder / f"float32_v{version[0]}.npy", "wb") as f:
            np.lib.format.write_array(f, array("f4"), version=version)
    np.save(folder / "complex64.npy", array("f4").astype(np.complex64))  # must be refused by name


def npz_files(folder):
    members = {label(dtype): array(dtype) for dtype in DTYPES}
    members["fortran"] = np.asfortranarray(array("f4", (3, 4)))
    members["scalar"] = np.array(np.float64(-3))
    members["empty"] = array("i4", (0, 3))
    np.savez(folder / "stored.npz", **members)
    # Long enough that deflate uses dynamic Huffman codes, which six elements do not provoke.
    members["long"] = array("i4", (4, 512)) % 37
    np.savez_compressed(folder / "deflated.npz", **members)


def safetensors_files(folder):
    names = ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u1", "?")
    tensors = {label(n): torch.from_numpy(array(n)) for n in names}
    tensors["bfloat16"] = torch.from_numpy(array("f4")).to(torch.bfloat16)
    tensors["scalar"] = torch.tensor(-3.0, dtype=torch.float64)
    tensors["empty"] = torch.empty(0, 3)
    safetensors.torch.save_file(tensors, folder / "all_types.safetensors", {"writer": "safetensors"})


def unaligned_safetensors(folder):
    """A valid file whose header is not padded and whose f32 tensor starts at an odd byte."""
    small, wide = array("i1", (3,)), array("f4")
    header = {"small": {"dtype": "I8", "shape": [3], "data_offsets": [0, 3]},
              "wide": {"dtype": "F32", "shape": [2, 3], "data_offsets": [3, 27]}}
    text = json.dumps(header).encode()
    text += b" " * (1 - len(text) % 2)  # an odd length
    data = io.BytesIO()
    for part in (len(text).to_bytes(8, "little"), text, small.tobytes(), wide.tobytes()):
        data.write(part)
    (folder / "unaligned.safetensors").write_bytes(data.getvalue())


def mat_files(folder):
    """As MATLAB 5 files; `stored.mat` is -v6, `compressed.mat` -v7."""
    members = {label(d): array(d, (2, 3, 4)) for d in DTYPES if d not in ("f2",)}
    members |= {"matrix": array("f8", (3, 4)), "empty": np.zeros((0, 3)), "text": "abc",
                "record": {"field": array("f4"), "name": "x"}, "cell": np.array([array("f8"), "y"], object),
                "complex": array("f4").astype(np.complex64), "a_name_of_more_than_four_bytes": np.uint16(7)}
    for name, compressed in (("stored", False), ("compressed", True)):
        scipy.io.savemat(folder / f"{name}.mat", members, do_compression=compressed)
        data = (folder / f"{name}.mat").read_bytes()  # the text names the time of writing
        (folder / f"{name}.mat").write_bytes(b"MATLAB 5.0 MAT-file".ljust(116) + data[116:])


def write_all(folder):
    for group in (npy_files, npz_files, mat_files, safetensors_files, unaligned_safetensors):
        group(folder)
