"""References of single operations, computed in float64 on inputs that are exact in float32."""

import numpy as np
import torch
import torch.nn.functional as F

from values import integers, uniform


class Recorder:
    """Collects the tensors of the cases under `<case>.<key>`."""

    def __init__(self):
        self.tensors = {}

    def put(self, case, **arrays):
        for key, value in arrays.items():
            value = value.detach().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
            self.tensors[f"{case}.{key}"] = value

    def inputs(self, case, scales, **shapes):
        """Makes one differentiable float64 input per shape and stores it as float32 (lossless)."""
        made = {}
        for key, shape in shapes.items():
            array = uniform(f"{case}.{key}", shape, scales.get(key, 1.0))
            self.put(case, **{key: array.astype(np.float32)})
            made[key] = torch.from_numpy(array).requires_grad_()
        return made

    def backward(self, case, y, inputs):
        """Stores y, a seed gy of y's shape, and g<key> for every input."""
        gy = uniform(f"{case}.gy", tuple(y.shape))
        self.put(case, y=y, gy=gy.astype(np.float32))
        grads = torch.autograd.grad(y, list(inputs.values()), torch.from_numpy(gy))
        self.put(case, **{f"g{key}": g for key, g in zip(inputs, grads)})

    def run(self, case, fn, scales=None, **shapes):
        inputs = self.inputs(case, scales or {}, **shapes)
        self.backward(case, fn(**inputs), inputs)


def activations(rec):
    wide = {"x": 8.0}  # reaches both tails
    rec.run("gelu_erf", lambda x: F.gelu(x), wide, x=(5, 7))
    rec.run("gelu_tanh", lambda x: F.gelu(x, approximate="tanh"), wide, x=(5, 7))
    rec.run("silu", lambda x: F.silu(x), wide, x=(5, 7))


def row_wise(rec):
    for name, fn in (("softmax", torch.softmax), ("log_softmax", torch.log_softmax)):
        rec.run(name, lambda x, fn=fn: fn(x, -1), {"x": 8.0}, x=(5, 7))
        rec.run(name + "_axis1", lambda x, fn=fn: fn(x, 1), {"x": 4.0}, x=(2, 5, 3))
    rec.run("layer_norm", lambda x, w, b: F.layer_norm(x, (11,), w, b, 1e-5),
            {"x": 4.0}, x=(5, 11), w=(11,), b=(11,))


def positive(name, count):
    """Around 1, rounded to float32, in which it is stored."""
    return uniform(name, (count,), 0.5, 1.0).astype(np.float32).astype(np.float64)


def batch_norm(rec):
    for case, shape in (("batch_norm_train", (4, 3, 5, 3)), ("batch_norm_train_2d", (9, 5))):
        channels = shape[1]
        inputs = rec.inputs(case, {"x": 2.0}, x=shape, w=(channels,), b=(channels,))
        mean = torch.from_numpy(uniform(case + ".running_mean", (channels,)))
        var = torch.from_numpy(positive(case + ".running_var", channels))
        rec.put(case, running_mean=mean.numpy().astype(np.float32),
                running_var=var.numpy().astype(np.float32))
        # batch_norm updates both statistics in place.
        y = F.batch_norm(inputs["x"], mean, var, inputs["w"], inputs["b"], True, 0.1, 1e-5)
        rec.backward(case, y, inputs)
        rec.put(case, running_mean_out=mean, running_var_out=var)


def batch_norm_eval(rec):
    case = "batch_norm_eval"
    mean = uniform(case + ".running_mean", (3,))
    var = positive(case + ".running_var", 3)
    rec.put(case, running_mean=mean.astype(np.float32), running_var=var.astype(np.float32))
    rec.run(case, lambda x, w, b: F.batch_norm(x, torch.from_numpy(mean), torch.from_numpy(var),
                                               w, b, False, 0.1, 1e-5),
            {"x": 2.0}, x=(4, 3, 5, 3), w=(3,), b=(3,))


def other_norms(rec):
    rec.run("instance_norm", lambda x, w, b: F.instance_norm(x, None, None, w, b, True, 0.1, 1e-5),
            {"x": 2.0}, x=(2, 3, 5, 3), w=(3,), b=(3,))
    rec.run("group_norm", lambda x, w, b: F.group_norm(x, 3, w, b, 1e-5),
            {"x": 2.0}, x=(2, 6, 5, 3), w=(6,), b=(6,))


def cross_entropy(rec):
    labels = integers("cross_entropy.labels", (7,), 9)
    ignored = labels.copy()
    ignored[[1, 4]] = -100
    for case, target, smoothing, reduction in (
            ("cross_entropy", labels, 0.0, "mean"), ("cross_entropy_sum", labels, 0.0, "sum"),
            ("cross_entropy_none", labels, 0.1, "none"),
            ("cross_entropy_smooth", labels, 0.1, "mean"),
            ("cross_entropy_ignore", ignored, 0.0, "mean"),
            ("cross_entropy_smooth_ignore", ignored, 0.1, "mean")):
        rec.put(case, labels=target)
        rec.run(case, lambda x: F.cross_entropy(x, torch.from_numpy(target), reduction=reduction,
                                                label_smoothing=smoothing), {"x": 4.0}, x=(7, 9))


def convolutions(rec):
    def conv(case, x, w, **options):
        bias = w[0]
        rec.run(case, lambda x, w, b: F.conv2d(x, w, b, **options), x=x, w=w, b=(bias,))

    conv("conv2d_3x3", (2, 3, 7, 5), (4, 3, 3, 3), padding=1)
    conv("conv2d_3x3_valid", (2, 3, 7, 5), (4, 3, 3, 3))
    conv("conv2d_3x3_stride2", (2, 3, 7, 6), (4, 3, 3, 3), padding=1, stride=2)
    conv("conv2d_3x3_dilated", (2, 2, 9, 8), (3, 2, 3, 3), padding=2, dilation=2)
    conv("conv2d_1x1", (2, 5, 3, 7), (4, 5, 1, 1))
    conv("conv2d_1x1_stride2", (2, 5, 5, 7), (4, 5, 1, 1), stride=2)
    conv("conv2d_5x3", (2, 2, 7, 6), (3, 2, 5, 3), padding=(2, 1), stride=(1, 2))
    conv("conv2d_depthwise", (2, 5, 6, 7), (5, 1, 3, 3), padding=1, groups=5)
    conv("conv2d_depthwise_stride2", (2, 5, 6, 7), (5, 1, 3, 3), padding=1, stride=2, groups=5)
    conv("conv2d_grouped", (2, 4, 5, 6), (6, 2, 3, 3), padding=1, groups=2)
    conv("conv2d_patch", (2, 3, 8, 12), (5, 3, 4, 4), stride=4)


def transposed_convolutions(rec):
    # Weight layout of a transposed convolution: [in channels, out channels, height, width].
    rec.run("conv2d_transposed", lambda x, w, b: F.conv_transpose2d(x, w, b, padding=1),
            x=(2, 3, 5, 4), w=(3, 4, 3, 3), b=(4,))
    rec.run("conv2d_transposed_stride2",
            lambda x, w, b: F.conv_transpose2d(x, w, b, stride=2, padding=1, output_padding=1),
            x=(2, 3, 4, 3), w=(3, 4, 3, 3), b=(4,))


def pooling(rec):
    shape = (2, 3, 7, 6)
    rec.run("max_pool_2x2", lambda x: F.max_pool2d(x, 2), x=shape)
    rec.run("max_pool_3x3_stride2", lambda x: F.max_pool2d(x, 3, 2, 1), x=shape)
    rec.run("avg_pool_2x2", lambda x: F.avg_pool2d(x, 2), x=shape)
    rec.run("avg_pool_3x3_stride2", lambda x: F.avg_pool2d(x, 3, 2, 1), x=shape)
    rec.run("avg_pool_3x3_stride2_exclude_pad",
            lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False), x=shape)
    rec.run("global_avg_pool", lambda x: x.mean((2, 3)), x=shape)


def attention(rec):
    shapes = {"q": (2, 3, 5, 4), "k": (2, 3, 7, 4), "v": (2, 3, 7, 6)}
    wide = {"q": 2.0, "k": 2.0}
    sdpa = F.scaled_dot_product_attention
    rec.run("attention", lambda q, k, v: sdpa(q, k, v), wide, **shapes)
    rec.run("attention_scale", lambda q, k, v: sdpa(q, k, v, scale=0.25), wide, **shapes)

    square = {"q": (2, 3, 5, 4), "k": (2, 3, 5, 4), "v": (2, 3, 5, 4)}
    rec.run("attention_causal", lambda q, k, v: sdpa(q, k, v, is_causal=True), wide, **square)

    keep = integers("attention_mask.mask", (2, 1, 5, 7), 3) > 0
    keep[..., 0] = True  # a row with nothing to attend to has no defined softmax
    rec.put("attention_mask", mask=keep)
    rec.run("attention_mask", lambda q, k, v: sdpa(q, k, v, torch.from_numpy(keep)), wide, **shapes)

    rec.run("attention_bias", lambda q, k, v, bias: sdpa(q, k, v, bias), wide,
            bias=(1, 3, 5, 7), **shapes)


def embedding(rec):
    ids = integers("embedding.ids", (3, 5), 6)  # 15 ids among 6 rows: repeats are certain
    rec.put("embedding", ids=ids)
    rec.run("embedding", lambda w: F.embedding(torch.from_numpy(ids), w), w=(8, 5))


def tensors():
    rec = Recorder()
    for group in (activations, row_wise, batch_norm, batch_norm_eval, other_norms, cross_entropy,
                  convolutions, transposed_convolutions, pooling, attention, embedding):
        group(rec)
    return rec.tensors
