"""Rows of token mixers that are not attention: recurrences, convolutions, whole layers of others.

find       `run`: the calls of such layers while a model runs, each a `Layer`
measure    `row`: how many of a layer's states work on a sequence, with certificates
cells      loops over cells of torch, put together from their calls
foreign    layers of other libraries: one call made again, and checked against the run
linear     a layer's derivative along its run, by the shortest way to it
frozen     LSTM, GRU and RNN of torch: the linear system along their run, in float64
memory     Hankel singular values and norms of such a system, without its kernel
"""

from dsf.models.layers.find import Layer, run, whole
from dsf.models.layers.measure import Row, row

__all__ = ["Layer", "Row", "row", "run", "whole"]
