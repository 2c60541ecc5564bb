/*{
  "ISFVSN": "2.0",
  "DESCRIPTION": "Film grain that lives in the middle tones and leaves a projector's black alone",
  "CREDIT": "l2s-node",
  "CATEGORIES": ["Film"],
  "INPUTS": [
    {"NAME": "inputImage", "TYPE": "image"},
    {"NAME": "amount", "LABEL": "how coarse the tones get", "TYPE": "float", "DEFAULT": 0.35, "MIN": 0, "MAX": 1},
    {"NAME": "size", "LABEL": "of a grain, in pixels of a 1080 lines picture", "TYPE": "float", "DEFAULT": 1.8, "MIN": 1, "MAX": 8},
    {"NAME": "colour", "LABEL": "0 silver, 1 three dyes", "TYPE": "float", "DEFAULT": 0.3, "MIN": 0, "MAX": 1},
    {"NAME": "rate", "LABEL": "new grain so often a second", "TYPE": "float", "DEFAULT": 18, "MIN": 0, "MAX": 60}
  ],
  "PASSES": [
    {"TARGET": "cells", "WIDTH": "ceil($WIDTH / max($size * $HEIGHT / 1080.0, 1.0)) + 1", "HEIGHT": "ceil($HEIGHT / max($size * $HEIGHT / 1080.0, 1.0)) + 1"},
    {}
  ]
}*/

// Dave Hoskins, "Hash without Sine" (https://www.shadertoy.com/view/4djSRW), explains why not fract(sin()): it breaks
// on some drivers. This one is of our own: integers, after the PCG family (M. O'Neill, 2014).
uint scrambled(uint x) {
    x = x * 747796405u + 2891336453u;
    x = ((x >> ((x >> 28u) + 4u)) ^ x) * 277803737u;
    return (x >> 22u) ^ x;
}

// three independent numbers for a cell, each -1 … 1 and mostly small
vec3 grains(ivec2 cell, int moment) {
    uint seed = scrambled(uint(cell.x) + scrambled(uint(cell.y) + scrambled(uint(moment))));
    vec3 sum = vec3(0.0);
    for (int i = 0; i < 2; i++) {
        seed = scrambled(seed);
        sum += vec3(seed & 1023u, (seed >> 10u) & 1023u, (seed >> 20u) & 1023u) / 1023.0;
    }
    return sum - 1.0;
}

// the numbers of a cell are drawn once, not by every pixel; the texture unit mixes those of four neighbours
vec3 smooth_grains(vec2 place) {
    vec2 cell = floor(place);
    vec2 f = place - cell;
    f = f * f * (3.0 - 2.0 * f);
    return (IMG_NORM_PIXEL(cells, (cell + f + 0.5) / IMG_SIZE(cells)).rgb * 2.0 - 1.0) * 1.5;
}

void main() {
    if (PASSINDEX == 0) {
        gl_FragColor = vec4(grains(ivec2(gl_FragCoord.xy), int(floor(TIME * rate))) * 0.5 + 0.5, 1.0);
        return;
    }
    vec4 seen = IMG_THIS_PIXEL(inputImage);
    float scale = max(size * RENDERSIZE.y / 1080.0, 1.0);
    vec3 noise = smooth_grains(gl_FragCoord.xy / scale);
    float silver = (noise.r + noise.g + noise.b) / 1.73;
    noise = mix(vec3(silver), noise, colour);
    float luma = dot(seen.rgb, vec3(0.2126, 0.7152, 0.0722));
    // most in the middle tones, none in black, a little in white
    float room = sqrt(max(luma, 0.0)) * (1.0 - 0.75 * luma);
    gl_FragColor = vec4(clamp(seen.rgb + noise * room * amount * 0.42, 0.0, 1.0), seen.a);
}
