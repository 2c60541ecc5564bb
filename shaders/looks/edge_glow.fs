/*{
  "ISFVSN": "2.0",
  "DESCRIPTION": "Contours as neon tubes over the darkened picture",
  "CREDIT": "l2s-node",
  "CATEGORIES": ["Stylize", "Glow"],
  "INPUTS": [
    {"NAME": "inputImage", "TYPE": "image"},
    {"NAME": "amount", "LABEL": "0 the picture, 1 the lines over it", "TYPE": "float", "DEFAULT": 1.0, "MIN": 0, "MAX": 1},
    {"NAME": "strength", "LABEL": "of the lines", "TYPE": "float", "DEFAULT": 1.4, "MIN": 0, "MAX": 3},
    {"NAME": "picture", "LABEL": "how much of the picture stays", "TYPE": "float", "DEFAULT": 0.35, "MIN": 0, "MAX": 1},
    {"NAME": "threshold", "LABEL": "weaker edges are left out", "TYPE": "float", "DEFAULT": 0.08, "MIN": 0, "MAX": 1},
    {"NAME": "width", "LABEL": "of a line, in pixels of a 1080 lines picture", "TYPE": "float", "DEFAULT": 3, "MIN": 1, "MAX": 12},
    {"NAME": "glow", "LABEL": "light around the lines", "TYPE": "float", "DEFAULT": 0.9, "MIN": 0, "MAX": 2},
    {"NAME": "own", "LABEL": "0 the colour below, 1 the picture's own", "TYPE": "float", "DEFAULT": 0.65, "MIN": 0, "MAX": 1},
    {"NAME": "colour", "LABEL": "of the lines", "TYPE": "color", "DEFAULT": [0.25, 0.85, 1.0, 1.0]}
  ],
  "PASSES": [
    {"TARGET": "soft", "WIDTH": "ceil($WIDTH / 2.0)", "HEIGHT": "ceil($HEIGHT / 2.0)"},
    {"TARGET": "lines", "WIDTH": "ceil($WIDTH / 2.0)", "HEIGHT": "ceil($HEIGHT / 2.0)"},
    {"TARGET": "across", "WIDTH": "ceil($WIDTH / 8.0)", "HEIGHT": "ceil($HEIGHT / 8.0)"},
    {"TARGET": "halo", "WIDTH": "ceil($WIDTH / 8.0)", "HEIGHT": "ceil($HEIGHT / 8.0)"},
    {}
  ]
}*/

vec3 at_soft(vec2 at) { return IMG_NORM_PIXEL(soft, at).rgb; }

vec3 edges(vec2 at) {
    vec2 d = width * 0.5 * vec2(RENDERSIZE.y / RENDERSIZE.x, 1.0) / 1080.0 * 2.0;
    vec3 nw = at_soft(at + d * vec2(-1, 1)), n = at_soft(at + d * vec2(0, 1)), ne = at_soft(at + d * vec2(1, 1));
    vec3 w = at_soft(at + d * vec2(-1, 0)), here = at_soft(at), e = at_soft(at + d * vec2(1, 0));
    vec3 sw = at_soft(at + d * vec2(-1, -1)), s = at_soft(at + d * vec2(0, -1)), se = at_soft(at + d * vec2(1, -1));
    vec3 across = (ne + 2.0 * e + se) - (nw + 2.0 * w + sw);
    vec3 up = (nw + 2.0 * n + ne) - (sw + 2.0 * s + se);
    vec3 steep = sqrt(across * across + up * up) * 0.5;
    float strength = max(steep.r, max(steep.g, steep.b));
    strength = smoothstep(threshold, threshold + 0.35, strength);
    vec3 around = max(max(max(n, s), max(e, w)), here);
    float top = max(max(around.r, max(around.g, around.b)), 0.001);
    vec3 vivid = pow(around / top, vec3(1.8));
    return mix(colour.rgb, vivid, own) * strength;
}

vec3 blurred(vec2 at, vec2 stride) {
    vec3 sum = vec3(0.0);
    float weights = 0.0;
    for (int i = -6; i <= 6; i++) {
        float x = float(i) / 6.0;
        float weight = exp(-3.5 * x * x);
        vec2 p = at + stride * x;
        sum += weight * (PASSINDEX == 2 ? IMG_NORM_PIXEL(lines, p).rgb : IMG_NORM_PIXEL(across, p).rgb);
        weights += weight;
    }
    return sum / weights;
}

void main() {
    vec2 at = isf_FragNormCoord;
    if (PASSINDEX == 0) {
        // a little softer, so that noise makes no lines
        vec2 d = 0.75 / RENDERSIZE;
        vec3 sum = IMG_NORM_PIXEL(inputImage, at + d).rgb + IMG_NORM_PIXEL(inputImage, at - d).rgb;
        sum += IMG_NORM_PIXEL(inputImage, at + d * vec2(1, -1)).rgb + IMG_NORM_PIXEL(inputImage, at + d * vec2(-1, 1)).rgb;
        gl_FragColor = vec4(sum / 4.0, 1.0);
    } else if (PASSINDEX == 1) {
        gl_FragColor = vec4(edges(at), 1.0);
    } else if (PASSINDEX == 2) {
        gl_FragColor = vec4(blurred(at, vec2(0.035 * RENDERSIZE.y / RENDERSIZE.x, 0.0)), 1.0);
    } else if (PASSINDEX == 3) {
        gl_FragColor = vec4(blurred(at, vec2(0.0, 0.035)), 1.0);
    } else {
        vec4 seen = IMG_NORM_PIXEL(inputImage, at);
        vec3 tube = IMG_NORM_PIXEL(lines, at).rgb;
        float core = max(tube.r, max(tube.g, tube.b));
        vec3 light = strength * (tube + 0.35 * core * core + glow * 1.5 * IMG_NORM_PIXEL(halo, at).rgb);
        vec3 ground = seen.rgb * picture;
        gl_FragColor = vec4(mix(seen.rgb, 1.0 - (1.0 - ground) * exp(-light), amount), seen.a);
    }
}
