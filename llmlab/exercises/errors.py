"""What common errors of Python and PyTorch mean, in words for somebody who meets them for the first time."""

from __future__ import annotations

import re

MEANINGS = (
    (
        r"^KeyError: ",
        "The dictionary has no such key. Ask `key in d` first, or take d.get(key, default), which gives the default "
        "where there is none.",
    ),
    (
        r"same dtype|expected scalar type|dtype mismatch|must be .* but got|not implemented for '(Long|Bool)'",
        "The kinds of numbers (dtype) do not fit: whole, float32, float64, boolean.",
    ),
    (
        r"size of tensor a \((\d+)\) must match the size of tensor b \((\d+)\) at non-singleton dimension (\d+)",
        "Two tensors are combined number by number, but in dimension {3} one has {1} and the other {2}. Sizes must be "
        "equal or 1, counted from the right; keepdim=True or [:, None] gives a dimension of size 1.",
    ),
    (
        r"mat1 and mat2 shapes cannot be multiplied|size mismatch, got input|inconsistent tensor size|"
        r"[Ee]xpected size for first two dimensions of batch2|dot : expected both|vector and matrix",
        "In a product a @ b the last dimension of a must be as long as the last but one of b. Where b lies the other "
        "way, b.transpose(-2, -1) exchanges its last two dimensions.",
    ),
    (
        r"shape '(.*)' is invalid for input of size (\d+)|[Uu]nflatten.*|[Cc]annot reshape",
        "A view or reshape must keep all numbers: the product of the new sizes must be that of the old ones.",
    ),
    (
        r"view size is not compatible",
        "After a transpose the numbers do not lie in order, so view cannot cut them anew; reshape can.",
    ),
    (
        r"[Ss]izes of tensors must match except in dimension|Tensors must have same number of dimensions",
        "torch.cat joins tensors that are alike in every dimension but the one they are joined along.",
    ),
    (
        r"[Bb]oolean value of Tensor with more than one value is ambiguous",
        "`if`, `and`, `or` and `not` want one True or False; for tables of them there are &, | and ~.",
    ),
    (
        r"unexpected keyword argument '(axis|ddof)'|invalid combination of arguments - got \(.*\b(axis|ddof)=|"
        r"Cannot interpret 'torch\.|'Tensor' object has no attribute '(copy|astype)'|"
        r"argument 'dim' must be int, not NoneType",
        "One of NumPy's functions or methods meets a tensor: use that of PyTorch (dim for axis), or make an array of "
        "the tensor first, with np.asarray(…).",
    ),
    (
        r"'numpy\.ndarray' object has no attribute '(\w+)'",
        "An array of NumPy has nothing called `{1}`: make a tensor of it first, with torch.as_tensor(…).",
    ),
    (
        r"argmax\(\): does not support bool",
        "argmax takes numbers: make 0 and 1 of the booleans first, with .int().",
    ),
    (
        r"'NoneType' object|NoneType",
        "Something is None here: a function without `return`, or an argument that may be None.",
    ),
    (
        r"expanded size of the tensor \((\d+)\) must match the existing size \((\d+)\)",
        "A slice of {1} is filled with {2}: what is written must have the size of the place.",
    ),
    (
        r"shape of the mask|The expanded size|attn_mask|[Mm]ask.*must",
        "A mask must have the shape of the scores, or fit it from the right with dimensions of size 1.",
    ),
    (
        r"too many indices|[Dd]imension out of range",
        "There are more indices than dimensions: this tensor has fewer than the line takes it to have.",
    ),
    (
        r"cannot be converted to Scalar|only one element tensors can be converted|only length-1 arrays",
        "One number is wanted here, and this is a tensor of several; PyTorch's functions work on all of them at once.",
    ),
    (
        r"type must be tuple of ints|cannot be interpreted as an integer",
        "Sizes are whole numbers: `//` divides to one.",
    ),
    (r"iteration over a 0-d tensor", "This tensor is a single number, which cannot be gone through."),
    (r"has no setter|can't set attribute", "This can be read and not set; look for a function that changes it."),
    (
        r"stack expects each tensor|inhomogeneous shape|expected sequence of length",
        "These are of unequal lengths, so they make no table; torch.cat joins them in one row.",
    ),
    (r"selected index k out of range", "topk was asked for more numbers than there are along that dimension."),
    (r"index -100 is out of", "−100 is no token: leave these places out before you look up, or clamp them."),
    (r"index .* out of (range|bounds)|IndexError", "An index counts from 0, so the last of n is n − 1, or −1."),
    (r"name '(\w+)' is not defined|cannot access local variable '(\w+)'", "This name has no value yet at that line."),
    (r"takes \d+ positional argument|missing \d+ required", "A function is called with another number of arguments."),
    (
        r"[Uu]nsupported operand type|must be Tensor, not|expected Tensor",
        "A value here is of another kind than expected.",
    ),
    (r"module '([\w.]+)' has no attribute '(\w+)'", "The module {1} has nothing called `{2}`."),
    (r"has no attribute '(\w+)'", "This value is of a kind that has nothing called `{1}`."),
    (r"math range error", "The result is beyond what a float holds, as exp of a number above about 709 is."),
    (
        r"math domain error|expected a (positive|nonnegative) input",  # before and from Python 3.14
        "The function of math is asked for where it has no value: the logarithm of 0 or less, or the root of a number "
        "below 0. An exp or a share can have been rounded to 0.",
    ),
    (r"RecursionError", "The function calls itself without end."),
    (r"had not ended after", "The loop does not end: what it waits for never happens."),
)


def in_plain_words(message: str) -> str:
    """What an error's message means, or "" where nothing is known of it."""
    for pattern, meaning in MEANINGS:
        if match := re.search(pattern, message):
            return re.sub(r"\{(\d)\}", lambda place: match[int(place[1])] or "", meaning)
    return ""
