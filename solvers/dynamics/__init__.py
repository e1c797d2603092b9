"""How attention trains: flows, descent, and small models.

descent, paths, outcomes                  one head: normalised descent, regularisation paths
nonlinear_head                            several tokens per sequence
flows, optimisers                         differential equations; step directions
scan_snap, sequence_classes               Scan and Snap: closed forms, reduced flow, sampled
active_dormant, residual_toy              attention sinks: the simplified flow, the toy of norms
bigram_backcopy                           the task of the trained sink
backcopy_model, backcopy_training         its transformer and the training loop
relu_mlp                                  its feed-forward layer, in blocks
"""
