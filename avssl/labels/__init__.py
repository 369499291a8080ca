"""Targets made from pixels: optical flow, edges, moving objects, depth, camera motion."""

from avssl.labels.flow import AtomicFlow, OpticalFlow, dis_flow, flow_picture, scene_flow

__all__ = ["AtomicFlow", "OpticalFlow", "dis_flow", "flow_picture", "scene_flow"]
