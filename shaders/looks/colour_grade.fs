/*{
  "ISFVSN": "2.0",
  "DESCRIPTION": "Exposure, contrast and colour, with cool shadows and warm lights",
  "CREDIT": "l2s-node",
  "CATEGORIES": ["Colour"],
  "INPUTS": [
    {"NAME": "inputImage", "TYPE": "image"},
    {"NAME": "amount", "LABEL": "0 as it was, 1 all of the below", "TYPE": "float", "DEFAULT": 1.0, "MIN": 0, "MAX": 1},
    {"NAME": "exposure", "LABEL": "in stops", "TYPE": "float", "DEFAULT": 0.1, "MIN": -3, "MAX": 3},
    {"NAME": "contrast", "LABEL": "-1 flat, 1 hard", "TYPE": "float", "DEFAULT": 0.3, "MIN": -1, "MAX": 1},
    {"NAME": "black", "LABEL": "what is darker is black", "TYPE": "float", "DEFAULT": 0.02, "MIN": 0, "MAX": 0.5},
    {"NAME": "vibrance", "LABEL": "colour where there is little", "TYPE": "float", "DEFAULT": 0.35, "MIN": -1, "MAX": 2},
    {"NAME": "temperature", "LABEL": "-1 cold, 1 warm", "TYPE": "float", "DEFAULT": 0, "MIN": -1, "MAX": 1},
    {"NAME": "hue", "LABEL": "all colours round the wheel, in turns", "TYPE": "float", "DEFAULT": 0, "MIN": -0.5, "MAX": 0.5},
    {"NAME": "split", "LABEL": "how far the two tones below are gone to", "TYPE": "float", "DEFAULT": 0.4, "MIN": 0, "MAX": 1},
    {"NAME": "shadows", "LABEL": "tone of the dark", "TYPE": "color", "DEFAULT": [0.10, 0.32, 0.48, 1.0]},
    {"NAME": "lights", "LABEL": "tone of the bright", "TYPE": "color", "DEFAULT": [1.0, 0.72, 0.42, 1.0]},
    {"NAME": "vignette", "LABEL": "darker towards the corners", "TYPE": "float", "DEFAULT": 0.15, "MIN": 0, "MAX": 1}
  ]
}*/

const vec3 LUMA = vec3(0.2126, 0.7152, 0.0722);

float luma(vec3 c) { return dot(c, LUMA); }

// an S through the middle; at -1 flat, at 1 steep; black and white stay where they are
vec3 curved(vec3 x) {
    float power = exp2(contrast * 1.3);
    vec3 half_of_it = 0.5 * pow(clamp(1.0 - abs(2.0 * x - 1.0), 0.0, 1.0), vec3(power));
    return mix(half_of_it, 1.0 - half_of_it, step(0.5, x));
}

// round the grey axis, by Rodrigues' formula
vec3 rotated(vec3 c, float turns) {
    float angle = turns * 6.28318530718;
    vec3 axis = vec3(0.57735026919);
    return c * cos(angle) + cross(axis, c) * sin(angle) + axis * dot(axis, c) * (1.0 - cos(angle));
}

void main() {
    vec4 seen = IMG_THIS_PIXEL(inputImage);
    vec3 c = max(seen.rgb - black, 0.0) / (1.0 - black);
    c *= exp2(exposure * 0.4545); // stops are of light, these values its root
    c *= vec3(1.0 + 0.22 * temperature, 1.0 + 0.02 * temperature, 1.0 - 0.25 * temperature);
    c = min(c, 1.0) + 0.25 * (1.0 - exp(-4.0 * max(c - 1.0, 0.0)));
    c = curved(min(c, 1.0));
    float grey = luma(c);
    float most = max(c.r, max(c.g, c.b)), least = min(c.r, min(c.g, c.b));
    c = mix(vec3(grey), c, 1.0 + vibrance * (1.0 - (most - least)));
    if (hue != 0.0) c = rotated(c, hue);
    // each tone is taken at the brightness that is there, so that black stays black and white white
    vec3 dark = shadows.rgb / max(luma(shadows.rgb), 0.01), bright = lights.rgb / max(luma(lights.rgb), 0.01);
    float level = clamp(luma(c), 0.0, 1.0);
    vec3 tone = mix(dark, bright, smoothstep(0.15, 0.75, level));
    vec3 toned = c * mix(vec3(1.0), tone, 0.55 * (1.0 - level * level));
    c = mix(c, toned, split);
    vec2 from = (isf_FragNormCoord - 0.5) * 1.41421356;
    c *= 1.0 - vignette * smoothstep(0.35, 1.05, length(from));
    gl_FragColor = vec4(mix(seen.rgb, clamp(c, 0.0, 1.0), amount), seen.a);
}
