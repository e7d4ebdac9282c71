"""Importing this imports Ray, with the settings of a Ray on this machine alone."""

from raydarts.cluster import gate

gate.import_ray(None)
