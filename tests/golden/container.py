"""Writes .safetensors with a fixed order of keys.

The safetensors package keeps metadata in a hash map, so its files differ from run to run; golden files
must not.
"""

import json

import numpy as np

DTYPES = {"float64": "F64", "float32": "F32", "float16": "F16", "int64": "I64", "int32": "I32",
          "int8": "I8", "uint8": "U8", "bool": "BOOL"}


def write(path, tensors, metadata):
    header, payload, offset = {"__metadata__": metadata}, [], 0
    # Wide types first keep every tensor aligned to its own size.
    for key in sorted(tensors, key=lambda k: (-tensors[k].dtype.itemsize, k)):
        array = np.asarray(tensors[key], order="C")
        header[key] = {"dtype": DTYPES[array.dtype.name], "shape": list(array.shape),
                       "data_offsets": [offset, offset + array.nbytes]}
        payload.append(array.tobytes())
        offset += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(payload))
