"""Vectors of float32 for Numba kernels.

LLVM's own vectoriser turns a scan's plain loops into half of what these reach. A kernel holds a :class:`Block` of
``count`` vectors of ``LANES`` floats in registers; operations work element by element, and a block of one vector goes
with a block of any. Arrays are one-dimensional and indexed in floats; a ``count`` is a constant.

Nothing here sets fast-math flags: every result is what IEEE arithmetic says, on one thread or many.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import config, extending, types
from numba.core import cgutils
from numba.extending import models, register_model

# Its annotations are those of the function it wraps, which has one parameter more.
intrinsic: Any = extending.intrinsic


def _lanes() -> int:
    """Sixteen with AVX-512, else eight (which LLVM splits where registers are narrower), as Numba sees the CPU."""
    named: str | None = vars(config)["CPU_FEATURES"]
    if named is not None:
        return 16 if "+avx512f" in named.split(",") else 8
    return 16 if llvm.get_host_cpu_features().get("avx512f") else 8


LANES = _lanes()
LOG2E = 1.4426950408889634
_FLOAT, _INT, _INDEX = ir.FloatType(), ir.IntType(32), ir.IntType(64)
_VECTOR, _INT_VECTOR = ir.VectorType(_FLOAT, LANES), ir.VectorType(_INT, LANES)

# Minimax coefficients, lowest power first, fitted for the relative error (Lawson's iteration).
_EXP2 = (1.0, 0.6931470036506653, 0.24022242426872253, 0.05550733581185341, 0.009671512991189957, 0.001326472731307149)
_LOG1P = (
    *(1.0, -0.49999648332595825, 0.3332132399082184, -0.24857163429260254, 0.191536545753479),
    *(-0.13753800094127655, 0.0792044997215271, -0.030065767467021942, 0.005364818032830954),
)  # of log(1 + x) / x on [0, 1]


class Block(types.Type):
    """``count`` vectors of ``LANES`` floats."""

    def __init__(self, count: int) -> None:
        self.count = count
        super().__init__(name=f"Block({count} x {LANES})")


@register_model(Block)
class _BlockModel(models.PrimitiveModel):
    def __init__(self, manager: Any, block: Block) -> None:
        super().__init__(manager, block, ir.ArrayType(_VECTOR, block.count))


def _undefined(count: int) -> ir.Constant:
    return ir.Constant(ir.ArrayType(_VECTOR, count), ir.Undefined)


def _single(build: ir.IRBuilder, vector: ir.Value) -> ir.Value:
    return build.insert_value(_undefined(1), vector, 0)


def _constant(value: float) -> ir.Constant:
    return ir.Constant(_VECTOR, [value] * LANES)


def _splat(build: ir.IRBuilder, scalar: ir.Value) -> ir.Value:
    nothing = ir.Constant(ir.VectorType(scalar.type, LANES), ir.Undefined)
    first = build.insert_element(nothing, scalar, _INT(0))
    return build.shuffle_vector(first, nothing, ir.Constant(_INT_VECTOR, [0] * LANES))


def _call(build: ir.IRBuilder, name: str, result: ir.Type, *arguments: ir.Value) -> ir.Value:
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    return build.call(cgutils.get_or_insert_function(build.module, kind, name), arguments)


def _fma(build: ir.IRBuilder, x: ir.Value, y: ir.Value, z: ir.Value) -> ir.Value:
    return _call(build, f"llvm.fma.v{LANES}f32", _VECTOR, x, y, z)


def _polynomial(build: ir.IRBuilder, coefficients: tuple[float, ...], x: ir.Value) -> ir.Value:
    total = _constant(coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        total = _fma(build, total, x, _constant(coefficient))
    return total


def _larger(build: ir.IRBuilder, x: ir.Value, y: ir.Value) -> ir.Value:
    return build.select(build.fcmp_ordered(">", x, y), x, y)  # y where either is NaN


def _exp2(build: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """2^x for x <= 127, to 1.7e-7; 2^-126 for all that is below -126.

    Adding 1.5 * 2^23 rounds to an integer, which then stands in the low bits; from there it goes into the exponent.
    """
    magic = _constant(12582912.0)
    x = _larger(build, x, _constant(-126.0))
    shifted = build.fadd(x, magic)
    rest = build.fsub(x, build.fsub(shifted, magic))
    power = build.bitcast(_polynomial(build, _EXP2, rest), _INT_VECTOR)
    exponent = build.shl(build.bitcast(shifted, _INT_VECTOR), ir.Constant(_INT_VECTOR, [23] * LANES))
    return build.bitcast(build.add(power, exponent), _VECTOR)


def _decayed(build: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """e^-|x|"""
    magnitude = _larger(build, x, build.fsub(_constant(0.0), x))
    return _exp2(build, build.fmul(magnitude, _constant(-LOG2E)))


def _softplus(build: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """log(1 + e^x), accurate relative to itself however small it is."""
    small = _decayed(build, x)
    return _fma(build, small, _polynomial(build, _LOG1P, small), _larger(build, _constant(0.0), x))


def _sigmoid(build: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """1 / (1 + e^-x), accurate relative to itself."""
    small = _decayed(build, x)
    above = build.select(build.fcmp_ordered("<", x, _constant(0.0)), small, _constant(1.0))
    return build.fdiv(above, build.fadd(small, _constant(1.0)))


def _elementwise(code: Callable[..., ir.Value]) -> Any:
    """An operation on blocks from one on vectors, ``code(builder, *vectors)``."""

    def typed(context: Any, *blocks: Block) -> tuple[Any, Any]:
        count = max(block.count for block in blocks)
        if any(block.count not in (1, count) for block in blocks):
            raise ValueError("blocks of different counts")

        def generate(context: Any, build: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
            result = _undefined(count)
            for i in range(count):
                vectors = [
                    build.extract_value(argument, min(i, block.count - 1))
                    for argument, block in zip(arguments, blocks, strict=True)
                ]
                result = build.insert_value(result, code(build, *vectors), i)
            return result

        return Block(count)(*blocks), generate

    arity = len(inspect.signature(code).parameters) - 1
    if arity == 1:
        return intrinsic(lambda context, x: typed(context, x))
    if arity == 2:
        return intrinsic(lambda context, x, y: typed(context, x, y))
    return intrinsic(lambda context, x, y, z: typed(context, x, y, z))


add = _elementwise(lambda build, x, y: build.fadd(x, y))
mul = _elementwise(lambda build, x, y: build.fmul(x, y))
fma = _elementwise(_fma)  # x * y + z
exp2 = _elementwise(_exp2)
softplus = _elementwise(_softplus)
sigmoid = _elementwise(_sigmoid)


def _address(context: Any, build: ir.IRBuilder, array_type: Any, array: Any, index: Any, kind: ir.Type) -> ir.Value:
    data = context.make_array(array_type)(context, build, array).data
    return build.bitcast(build.gep(data, [index]), kind.as_pointer())


def _offset(build: ir.IRBuilder, index: ir.Value, by: int) -> ir.Value:
    return build.add(index, _INDEX(by))


@intrinsic(prefer_literal=True)
def load(typing, array, index, count):
    """``count`` consecutive vectors from ``array[index:]``."""
    number = count.literal_value

    def generate(context, build, signature, arguments):
        block = _undefined(number)
        for i in range(number):
            index = _offset(build, arguments[1], i * LANES)
            pointer = _address(context, build, array, arguments[0], index, _VECTOR)
            block = build.insert_value(block, build.load(pointer, align=4), i)
        return block

    return Block(number)(array, types.intp, count), generate


@intrinsic
def store(typing, array, index, block):
    """``array[index : index + count * LANES] = block``."""

    def generate(context, build, signature, arguments):
        for i in range(block.count):
            index = _offset(build, arguments[1], i * LANES)
            pointer = _address(context, build, array, arguments[0], index, _VECTOR)
            build.store(build.extract_value(arguments[2], i), pointer, align=4)

    return types.void(array, types.intp, block), generate


def _first_lanes(build: ir.IRBuilder, lanes: ir.Value) -> ir.Value:
    numbers = ir.Constant(_INT_VECTOR, list(range(LANES)))
    return build.icmp_signed("<", numbers, _splat(build, build.trunc(lanes, _INT)))


@intrinsic
def load_lanes(typing, array, index, lanes):
    """The first ``lanes`` floats of one vector from ``array[index:]``, zeros after them."""

    def generate(context, build, signature, arguments):
        pointer = _address(context, build, array, arguments[0], arguments[1], _VECTOR)
        mask = _first_lanes(build, arguments[2])
        name = f"llvm.masked.load.v{LANES}f32.p0"
        vector = _call(build, name, _VECTOR, pointer, _INT(4), mask, _constant(0.0))
        return _single(build, vector)

    return Block(1)(array, types.intp, types.intp), generate


@intrinsic
def store_lanes(typing, array, index, block, lanes):
    """Only the first ``lanes`` floats of one vector."""

    def generate(context, build, signature, arguments):
        pointer = _address(context, build, array, arguments[0], arguments[1], _VECTOR)
        mask = _first_lanes(build, arguments[3])
        vector = build.extract_value(arguments[2], 0)
        _call(build, f"llvm.masked.store.v{LANES}f32.p0", ir.VoidType(), vector, pointer, _INT(4), mask)

    return types.void(array, types.intp, block, types.intp), generate


@intrinsic(prefer_literal=True)
def spread(typing, array, index, count, stride):
    """``count`` vectors; all lanes of vector i are ``array[index + i * stride]``."""
    number = count.literal_value

    def generate(context, build, signature, arguments):
        block = _undefined(number)
        for i in range(number):
            index = build.add(arguments[1], build.mul(arguments[3], _INDEX(i)))
            scalar = build.load(_address(context, build, array, arguments[0], index, _FLOAT))
            block = build.insert_value(block, _splat(build, scalar), i)
        return block

    return Block(number)(array, types.intp, count, types.intp), generate


@intrinsic
def splat(typing, value):
    """One vector with ``value`` in all lanes."""

    def generate(context, build, signature, arguments):
        return _single(build, _splat(build, arguments[0]))

    return Block(1)(types.float32), generate


@intrinsic(prefer_literal=True)
def repeat(typing, vector, count):
    """``count`` times the same vector."""
    number = count.literal_value

    def generate(context, build, signature, arguments):
        block = _undefined(number)
        for i in range(number):
            block = build.insert_value(block, build.extract_value(arguments[0], 0), i)
        return block

    return Block(number)(vector, count), generate


@intrinsic
def dot(typing, x, y, start):
    """One vector: start + x[0] * y[0] + x[1] * y[1] + ..."""

    def generate(context, build, signature, arguments):
        total = build.extract_value(arguments[2], 0)
        for i in range(x.count):
            total = _fma(build, build.extract_value(arguments[0], i), build.extract_value(arguments[1], i), total)
        return _single(build, total)

    return Block(1)(x, y, start), generate


def _shuffle(build: ir.IRBuilder, x: ir.Value, y: ir.Value, lanes: list[int]) -> ir.Value:
    return build.shuffle_vector(x, y, ir.Constant(ir.VectorType(_INT, len(lanes)), lanes))


def _add_pairs(build: ir.IRBuilder, x: ir.Value, y: ir.Value) -> ir.Value:
    """In every four lanes: two sums of neighbours in x, two in y."""
    fours = range(0, LANES, 4)
    even, odd = ([four + lane for four in fours for lane in (i, i + 2, LANES + i, LANES + i + 2)] for i in (0, 1))
    return build.fadd(_shuffle(build, x, y, even), _shuffle(build, x, y, odd))


@intrinsic
def add_lane_sums(typing, array, index, block):
    """``array[index + i] +=`` the sum of the lanes of vector i; always in the same order."""

    def generate(context, build, signature, arguments):
        vectors = [build.extract_value(arguments[2], i) for i in range(block.count)]
        for first in range(0, block.count, 4):
            four = vectors[first : first + 4]
            w, x, y, z = four + [four[-1]] * (4 - len(four))
            sums = _add_pairs(build, _add_pairs(build, w, x), _add_pairs(build, y, z))
            while sums.type.count > 4:
                half = sums.type.count // 2
                low, high = (_shuffle(build, sums, sums, list(range(i, i + half))) for i in (0, half))
                sums = build.fadd(low, high)
            sums = _shuffle(build, sums, sums, list(range(len(four))))
            index = _offset(build, arguments[1], first)
            pointer = _address(context, build, array, arguments[0], index, sums.type)
            build.store(build.fadd(build.load(pointer, align=4), sums), pointer, align=4)

    return types.void(array, types.intp, block), generate


@intrinsic
def prefetch(typing, array, index):
    """Ask for the cache line of ``array[index]``; the index may lie anywhere."""

    def generate(context, build, signature, arguments):
        pointer = _address(context, build, array, arguments[0], arguments[1], ir.IntType(8))
        _call(build, "llvm.prefetch.p0", ir.VoidType(), pointer, _INT(0), _INT(3), _INT(1))

    return types.void(array, types.intp), generate


@intrinsic
def claim(typing, counter):
    """``counter[0]++`` as one atomic step; what it was before."""

    def generate(context, build, signature, arguments):
        pointer = context.make_array(counter)(context, build, arguments[0]).data
        return build.atomic_rmw("add", pointer, _INDEX(1), "monotonic")

    return types.int64(counter), generate
