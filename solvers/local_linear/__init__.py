"""Local linear attention, and attention as regression at test time.

forms                the output as weights of the values, centred, and as an interpolation
attention            local linear attention from queries and keys; Parallax with a given direction
conjugate_gradients  the same without d x d matrices, each row with its residual
recurrence           ridge regression token by token, and in one batch
intake               what arrays come in
experiments          untrained layers on regression at test time, and smoothing
learning             small models trained on recall, tracking and regression in context
"""
