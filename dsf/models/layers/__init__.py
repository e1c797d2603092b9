"""Rows of token mixers that are not attention: recurrences, convolutions, whole mixers of others.

frozen     LSTM, GRU and RNN of torch: the linear system along their run, in float64
"""
