"""Random features: estimates of the softmax kernel, and attention with frozen queries and keys.

directions, variance, quadrature   estimates of e^{x'y}: draws, exact mean squared errors, twin
kernel_attention, importance       attention through features; importance sampling of it
model, targets                     heads with frozen random query-key matrices; what they learn
ridge, blocks                      least squares with a penalty and a bound on its error
rates                              slopes in logarithms with bootstrap intervals
intake                             what arrays come in
"""
