"""How a show is steered and watched: OSC, presets and the panel. They meet the pipeline only in `params.Board`."""
