"""Random features: kernel estimates of softmax, and heads with frozen queries and keys."""
