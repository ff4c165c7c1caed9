"""The canonical forms of observations, behaviours, times and units that all importers share."""
