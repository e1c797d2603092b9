"""Margin problems of attention: least norms with certificates.

attention, prompt, next_token, several_tokens    the problems: what to ask
problem, solution, printout                      rows in, answer out
chain                                            scale, ask one solver after another, certify
least_distance, coordinate_ascent, support       our solvers (Frobenius)
cones, isolated                                  conic solvers, each in a process of its own
nuclear, norms, equalities                       other norms, equality rows
certify, gordan                                  bounds rounded outward; proofs that none exists
selections                                       which selections are locally optimal
instances                                        reference instances, the head, its loss
"""
