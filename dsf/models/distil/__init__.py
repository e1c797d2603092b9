"""Students with few states for a head or a kernel."""
