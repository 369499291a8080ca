"""Targets made from pixels, or recorded beside them: optical flow, edges, moving objects, depth, camera motion."""

from avssl.labels.camera import fit_camera, homography, homography_flow
from avssl.labels.colour import ab_bins, hue_chroma_to_rgb, lab_to_rgb, rgb_to_hue_chroma, rgb_to_lab
from avssl.labels.depth import RelativeDepth, ordinal_agreement
from avssl.labels.edges import ConfidentFlow, MotionEdges, boundary_f, image_edges, motion_edges, relative
from avssl.labels.ego_motion import AXES, EgoMotionFromPoses, EgoMotionFromVideo, read_poses, relative_motion
from avssl.labels.flow import AtomicFlow, AtomicSceneFlow, OpticalFlow, dis_flow, flow_picture, scene_flow
from avssl.labels.objects import MotionSegmentation
from avssl.labels.recorded import RecordedDepth, recorded_maps

__all__ = [
    "AXES",
    "AtomicFlow",
    "AtomicSceneFlow",
    "ConfidentFlow",
    "EgoMotionFromPoses",
    "EgoMotionFromVideo",
    "MotionEdges",
    "MotionSegmentation",
    "OpticalFlow",
    "RecordedDepth",
    "RelativeDepth",
    "ab_bins",
    "boundary_f",
    "dis_flow",
    "fit_camera",
    "flow_picture",
    "homography",
    "homography_flow",
    "hue_chroma_to_rgb",
    "image_edges",
    "lab_to_rgb",
    "motion_edges",
    "ordinal_agreement",
    "read_poses",
    "recorded_maps",
    "relative",
    "relative_motion",
    "rgb_to_hue_chroma",
    "rgb_to_lab",
    "scene_flow",
]
