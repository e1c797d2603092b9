"""How claims are found.

compare      `dsf.compare`: a question to the strategies of its scope, their findings sorted
question     what is asked, immutable; finding: verdicts, findings, what was looked for
families     strategies for two families: nestings, conditions, separations
instances    strategies for two instances: the same parameters, an input on which they differ
inputs       the strategy on one input: states needed there
comparison   the answer; plot: its picture; differences: its table
properties   what a family's equations do, measured once: tables and separations read it
atlas        every mechanism as a row (measure)
lattice/     nestings: chains of edges, proofs, conditions
separations/ invariants that one side has and the other violates
"""
