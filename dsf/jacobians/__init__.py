"""Any module as a linear operator: Jacobians along a trajectory."""
