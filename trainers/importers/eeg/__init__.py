"""Recordings of the brain's activity: EDF, BDF and BrainVision."""
