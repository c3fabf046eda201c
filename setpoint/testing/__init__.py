"""Shipped for tests: fakes, a clock by hand, the simulation loop, faults, and the contracts that fake and real both keep."""
