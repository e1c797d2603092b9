"""Attention heads that are changed, measured or taken apart.

interventions        gates, clipping, temperatures, redistribution, injection
attention_metrics    sinks, entropies, outliers
deconstructed        mixers that keep one part of attention
task_embedding       mean outputs and mean states over prompts
transition_toy       temperatures per token on a small graph
"""
