"""Linear regression in context, in closed form: what one layer of attention can predict.

prompts        the distribution of prompts; drawing them
estimators     gradient steps, least squares, ridge, and the same by layers of the catalogue
moments        exact risks of gradient steps from Wishart moments
risk           `icl_risk`: the risk of every method, exact or with its error
optimal        `icl_optimal`: the best steps, preconditioners and heads
heads          the approximate loss of softmax heads, its expansion
flow           gradient flow of that loss, its stages and its slow law
tasks          several tasks in one layer
training       heads of softmax attention trained from a random start
"""
