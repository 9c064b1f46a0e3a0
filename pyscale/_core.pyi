"""
The C++ side of pyscale. Private: it checks what memory safety needs and no more.
"""

from __future__ import annotations

import collections.abc
import typing

import numpy
import numpy.typing
import typing_extensions

__all__: list[str] = [
    "MULTISET_VERSION",
    "PERMUTATION_VERSION",
    "Arena",
    "Dense",
    "EmbeddingTable",
    "Forest",
    "GatherAhead",
    "Group",
    "Interleave",
    "Node",
    "Partition",
    "Permutation",
    "TopK",
    "all_finite",
    "apply_function",
    "available_isas",
    "balance",
    "bounds_meet",
    "capsule_of",
    "capsule_of_dense",
    "capsule_of_forest",
    "check_indices",
    "collect_rows",
    "compiled_isas",
    "compiler",
    "count_destinations",
    "exchange",
    "exit_before_mpi",
    "fold",
    "gather_columns",
    "isa",
    "multiset_add",
    "multiset_between",
    "multiset_only",
    "multiset_shift",
    "openmp",
    "pidfd_open",
    "place_columns",
    "reducible",
    "register_bfloat16",
    "scatter_rows",
    "set_isa",
    "shorten_all_reduce",
    "shorten_dense",
    "shorten_forest",
]

class Permutation:
    def __init__(
        self,
        n: typing.SupportsInt | typing.SupportsIndex,
        seed: typing.SupportsInt | typing.SupportsIndex,
        epoch: typing.SupportsInt | typing.SupportsIndex,
        stream: typing.SupportsInt | typing.SupportsIndex,
    ) -> None: ...
    def at(
        self, positions: typing.Annotated[numpy.typing.ArrayLike, numpy.int64]
    ) -> numpy.typing.NDArray[numpy.int64]: ...
    def indices(
        self,
        start: typing.SupportsInt | typing.SupportsIndex,
        stop: typing.SupportsInt | typing.SupportsIndex,
        step: typing.SupportsInt | typing.SupportsIndex = 1,
    ) -> numpy.typing.NDArray[numpy.int64]: ...
    def inverse(
        self, values: typing.Annotated[numpy.typing.ArrayLike, numpy.int64]
    ) -> numpy.typing.NDArray[numpy.int64]: ...

class Interleave:
    def __init__(
        self,
        weights: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        length: typing.SupportsInt | typing.SupportsIndex,
        seed: typing.SupportsInt | typing.SupportsIndex,
        epoch: typing.SupportsInt | typing.SupportsIndex,
    ) -> None: ...
    def counts(
        self, position: typing.SupportsInt | typing.SupportsIndex
    ) -> numpy.typing.NDArray[numpy.int64]: ...
    def locate(self, positions: typing.Annotated[numpy.typing.ArrayLike, numpy.int64]) -> tuple: ...

class GatherAhead:
    def __init__(self, num_threads: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    def close(self) -> None: ...
    def submit(
        self,
        sources: collections.abc.Sequence[numpy.ndarray],
        indices: numpy.ndarray,
        outs: collections.abc.Sequence[numpy.ndarray],
    ) -> int: ...
    def wait(self, ticket: typing.SupportsInt | typing.SupportsIndex) -> None: ...

class Arena:
    def __init__(
        self,
        bytes: typing.SupportsInt | typing.SupportsIndex,
        nonce: typing.SupportsInt | typing.SupportsIndex,
    ) -> None: ...
    def contains(self, x: numpy.ndarray) -> bool: ...
    def empty(
        self,
        dtype: numpy.dtype[typing.Any],
        shape: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    ) -> numpy.ndarray: ...
    def lend(
        self,
        dtype: numpy.dtype[typing.Any],
        shape: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    ) -> tuple: ...
    @property
    def bytes(self) -> int: ...
    @property
    def fd(self) -> int: ...
    @property
    def resident_bytes(self) -> int: ...

class Node:
    def __init__(
        self,
        arena: Arena,
        index: typing.SupportsInt | typing.SupportsIndex,
        arena_fds: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        arena_bytes: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        pidfds: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    ) -> None: ...
    def borrow(
        self,
        index: typing.SupportsInt | typing.SupportsIndex,
        offset: typing.SupportsInt | typing.SupportsIndex,
        dtype: numpy.dtype[typing.Any],
        shape: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    ) -> tuple: ...
    def claim_failure(self, rank: typing.SupportsInt | typing.SupportsIndex) -> bool: ...
    def depart(self, in_order: bool) -> None: ...
    def free_mailbox(self, offset: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    def join(self) -> None: ...
    def nonce(self, index: typing.SupportsInt | typing.SupportsIndex) -> int: ...
    def open_mailbox(self) -> int: ...
    def watch_at_exit(self) -> None: ...

class Group:
    def __init__(
        self,
        node: Node,
        members: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        rank: typing.SupportsInt | typing.SupportsIndex,
        mailboxes: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        labels: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        timeout: typing.SupportsFloat | typing.SupportsIndex,
        cores: typing.SupportsInt | typing.SupportsIndex,
        algorithm: str,
    ) -> None: ...
    def abandon(self, why: str, late: bool) -> None: ...
    def all_gather(
        self, x: typing.Any, out: typing.Any, call: str = "all_gather", rows_of: typing.Any = None
    ) -> None: ...
    def all_reduce(self, x: typing.Any, op: typing.Any, out: typing.Any) -> typing.Any: ...
    def all_to_all(
        self,
        x: typing.Any,
        send_counts: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        out: typing.Any,
        receive_counts: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    ) -> None: ...
    def barrier(self) -> None: ...
    def broadcast(
        self, x: typing.Any, root: typing.SupportsInt | typing.SupportsIndex, call: str = "broadcast"
    ) -> None: ...
    def check(self) -> None: ...
    def close(self) -> None: ...
    def reduce_scatter(
        self, x: typing.Any, op: str, out: typing.Any, divisor: typing.SupportsInt | typing.SupportsIndex = 0
    ) -> None: ...
    def set_algorithm(self, name: str) -> None: ...
    def set_patience(
        self,
        spins: typing.SupportsInt | typing.SupportsIndex,
        yields: typing.SupportsInt | typing.SupportsIndex,
    ) -> None: ...
    def set_timeout(self, seconds: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    def set_tuning(
        self,
        eager_bytes: typing.SupportsInt | typing.SupportsIndex,
        eager_shared_bytes: typing.SupportsInt | typing.SupportsIndex,
        one_shot_bytes: typing.SupportsInt | typing.SupportsIndex,
        piece_bytes: typing.SupportsInt | typing.SupportsIndex,
        cache_bytes: typing.SupportsInt | typing.SupportsIndex,
    ) -> None: ...
    @property
    def broken(self) -> bool: ...

class Partition:
    def __init__(
        self,
        rows: numpy.ndarray,
        destinations: numpy.ndarray,
        ranks: typing.SupportsInt | typing.SupportsIndex,
        window_bytes: typing.SupportsInt | typing.SupportsIndex,
    ) -> None: ...
    def read(self, window: typing.SupportsInt | typing.SupportsIndex) -> list[int]: ...
    def write(self, outputs: collections.abc.Sequence[numpy.ndarray | None]) -> None: ...
    @property
    def windows(self) -> int: ...

class Forest:
    classifies: bool
    gives_labels: bool
    def __init__(
        self, arrays: dict, known_categories: dict, num_threads: typing.SupportsInt | typing.SupportsIndex
    ) -> None: ...
    def answer(
        self,
        x: numpy.ndarray,
        out: typing.Any,
        what: str,
        begin: typing.SupportsInt | typing.SupportsIndex,
        end: typing.SupportsInt | typing.SupportsIndex,
        num_threads: typing.SupportsInt | typing.SupportsIndex,
        engine: str = "",
    ) -> typing.Any: ...
    def calibrate(self) -> None: ...
    def costs(self) -> dict: ...
    def engine_for(self, rows: typing.SupportsInt | typing.SupportsIndex) -> str: ...
    def leaves(
        self,
        x: numpy.ndarray,
        begin: typing.SupportsInt | typing.SupportsIndex,
        end: typing.SupportsInt | typing.SupportsIndex,
        num_threads: typing.SupportsInt | typing.SupportsIndex,
    ) -> numpy.typing.NDArray[numpy.int32]: ...
    def set_link(
        self,
        name: str,
        divisor: typing.SupportsFloat | typing.SupportsIndex,
        scale: typing.SupportsFloat | typing.SupportsIndex,
        trees_per_round: typing.SupportsInt | typing.SupportsIndex,
    ) -> None: ...
    def shape(self, rows: typing.SupportsInt | typing.SupportsIndex, what: str) -> tuple: ...
    @property
    def has_hybrid(self) -> bool: ...
    @property
    def has_masks(self) -> bool: ...

class Dense:
    flat: bool
    outputs_are_proba: bool
    values: bool
    def __init__(self, features: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    def add_activation(self, name: str, parameter: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    def add_affine(self, scale: typing.Any, shift: typing.Any) -> None: ...
    def add_layer_norm(
        self, scale: typing.Any, shift: typing.Any, epsilon: typing.SupportsFloat | typing.SupportsIndex
    ) -> None: ...
    def add_linear(
        self, weights: typing.Annotated[numpy.typing.ArrayLike, numpy.float32], bias: typing.Any, type: str
    ) -> None: ...
    def add_linear_int8(
        self,
        weights: typing.Annotated[numpy.typing.ArrayLike, numpy.int8],
        scales: typing.Any,
        bias: typing.Any,
        input_scale: typing.Any,
        input_zero: typing.SupportsInt | typing.SupportsIndex,
    ) -> None: ...
    def answer(
        self, x: numpy.ndarray, out: typing.Any, num_threads: typing.SupportsInt | typing.SupportsIndex
    ) -> typing.Any: ...
    @property
    def outputs(self) -> int: ...
    @property
    def threads(self) -> int: ...
    @threads.setter
    def threads(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def weight_bytes(self) -> int: ...

class EmbeddingTable:
    def __init__(self, rows: typing.Any) -> None: ...
    def copy_rows(self, out: typing.Any) -> None: ...
    def reduce(
        self,
        indices: numpy.ndarray,
        offsets: typing.Any,
        count: typing.SupportsInt | typing.SupportsIndex,
        weights: typing.Any,
        mode: str,
        padding: typing.SupportsInt | typing.SupportsIndex,
        out: typing.Any,
        num_threads: typing.SupportsInt | typing.SupportsIndex,
    ) -> None: ...

class TopK:
    def __init__(self, matrix: typing.Any, metric: str, unit: bool) -> None: ...
    def copy_rows(self, out: typing.Any) -> None: ...
    def search(
        self,
        queries: typing.Any,
        k: typing.SupportsInt | typing.SupportsIndex,
        ids: typing.Any,
        scores: typing.Any,
        indices: typing.Any,
        num_threads: typing.SupportsInt | typing.SupportsIndex,
    ) -> None: ...
    @property
    def bytes(self) -> int: ...
    @property
    def count(self) -> int: ...
    @property
    def width(self) -> int: ...

def all_finite(x: typing.Any) -> bool: ...
def apply_function(
    name: str,
    parameter: typing.SupportsFloat | typing.SupportsIndex,
    values: typing.Annotated[numpy.typing.ArrayLike, numpy.float32],
) -> None: ...
def available_isas() -> list[str]: ...
def balance(
    lengths: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    num_ranks: typing.SupportsInt | typing.SupportsIndex,
    linear: typing.SupportsFloat | typing.SupportsIndex,
    quadratic: typing.SupportsFloat | typing.SupportsIndex,
    equal_counts: bool,
) -> tuple: ...
def bounds_meet(outs: list[numpy.ndarray], others: list[numpy.ndarray]) -> bool: ...
def capsule_of(group: typing.Any) -> typing_extensions.CapsuleType: ...
def capsule_of_dense(model: typing.Any) -> typing_extensions.CapsuleType: ...
def capsule_of_forest(forest: typing.Any) -> typing_extensions.CapsuleType: ...
def check_indices(
    indices: numpy.ndarray,
    rows: typing.SupportsInt | typing.SupportsIndex,
    num_threads: typing.SupportsInt | typing.SupportsIndex,
) -> None: ...
def collect_rows(arrays: list, out: numpy.ndarray) -> int:
    """
    Copies the rows of all arrays to out, one below the other; returns how many.
    """

def compiled_isas() -> list[str]: ...
def count_destinations(
    destinations: numpy.ndarray, ranks: typing.SupportsInt | typing.SupportsIndex
) -> tuple: ...
def exchange(
    group: Group,
    rows: numpy.ndarray,
    destinations: numpy.ndarray,
    all_ranks: typing.SupportsInt | typing.SupportsIndex,
    ranks: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    outputs: collections.abc.Sequence[numpy.ndarray],
    window_bytes: typing.SupportsInt | typing.SupportsIndex,
    staging: numpy.ndarray | None = None,
) -> None: ...
def exit_before_mpi() -> bool: ...
def fold(
    op: str, sources: list, out: typing.Any, divisor: typing.SupportsInt | typing.SupportsIndex = 1
) -> None: ...
def gather_columns(
    arrays: list[numpy.ndarray],
    indices: numpy.ndarray,
    outs: list[numpy.ndarray],
    num_threads: typing.SupportsInt | typing.SupportsIndex,
) -> None: ...
def isa() -> str: ...
def multiset_add(
    table: numpy.typing.NDArray[numpy.uint64],
    indices: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
    n: typing.SupportsInt | typing.SupportsIndex,
) -> int: ...
def multiset_between(
    start: typing.SupportsInt | typing.SupportsIndex,
    stop: typing.SupportsInt | typing.SupportsIndex,
    n: typing.SupportsInt | typing.SupportsIndex,
    num_threads: typing.SupportsInt | typing.SupportsIndex,
) -> numpy.typing.NDArray[numpy.uint64]: ...
def multiset_only(
    count: typing.SupportsInt | typing.SupportsIndex,
    first: typing.SupportsInt | typing.SupportsIndex,
    second: typing.SupportsInt | typing.SupportsIndex,
) -> int: ...
def multiset_shift(n: typing.SupportsInt | typing.SupportsIndex) -> int: ...
def pidfd_open(pid: typing.SupportsInt | typing.SupportsIndex) -> int: ...
def place_columns(
    sources: list[numpy.ndarray],
    rows: numpy.typing.NDArray[numpy.uint32] | None,
    outs: list[numpy.ndarray],
    places: numpy.typing.NDArray[numpy.uint32],
) -> None: ...
def reducible(dtype: str, op: str) -> bool: ...
def register_bfloat16(dtype: numpy.dtype[typing.Any]) -> None: ...
def scatter_rows(
    rows: numpy.ndarray,
    indices: numpy.ndarray,
    out: numpy.ndarray,
    num_threads: typing.SupportsInt | typing.SupportsIndex,
) -> None: ...
def set_isa(name: str) -> None: ...
def shorten_all_reduce(communicator: type) -> None: ...
def shorten_dense(type: type) -> None: ...
def shorten_forest(forest: type) -> None: ...

MULTISET_VERSION: int = 1
PERMUTATION_VERSION: int = 1
compiler: str
openmp: bool
