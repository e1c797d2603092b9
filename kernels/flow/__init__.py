"""y' = f(y; p) of many small systems: classical Runge-Kutta steps, f from expressions of sympy."""
