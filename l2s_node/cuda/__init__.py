"""NVIDIA GPUs: a frame's whole way as one CUDA graph.

    upload ──> program ──> graph      a pipeline (`pipeline.Pipeline`'s calls) whose frames are programs, replayed
       └── prepare ──┘ └── chorus     capturing beside the frame loop; channels of one world that play together

`graph.create` is what everyone else calls; it gives the plain pipeline on other devices.
"""
