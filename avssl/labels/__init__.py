"""Targets made from pixels: optical flow, edges, moving objects, depth, camera motion."""
